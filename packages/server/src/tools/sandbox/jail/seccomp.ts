/**
 * A filter of system calls for jails, as the kernel takes it: a classic BPF program. It refuses what a program that computes has no use
 * for and where kernels broke before: namespaces within, mounts, keys of the kernel, tracing, BPF, io_uring, and sockets that lead out of
 * a network namespace, as those of the machine's own hypervisor do. Everything else is allowed.
 */

interface Machine {
  /** Of the kernel's audit. */
  readonly id: number;
  /** Calls from here on are of another calling convention. */
  readonly foreignFrom?: number;
  readonly clone: number;
  readonly socket: number;
  readonly ioctl: number;
  readonly denied: readonly number[];
  /** Of these, what builds a sandbox within: tracing, mounts, changing the root, a file in memory. */
  readonly building: readonly number[];
}

/** Since they are younger than the tables were joined, they have one number on all machines. */
const everywhere = [
  // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
  428, 429, 430, 431, 432, 433, 442,
  // io_uring_setup, io_uring_enter, io_uring_register, pidfd_getfd, memfd_secret
  425, 426, 427, 438, 447,
];
const clone3 = 435;

const machines: Readonly<Record<string, Machine>> = {
  x64: {
    id: 0xc000003e,
    foreignFrom: 0x40000000,
    clone: 56,
    socket: 41,
    ioctl: 16,
    denied: [
      // add_key, request_key, keyctl, ptrace, process_vm_readv, process_vm_writev, kcmp
      248, 249, 250, 101, 310, 311, 312,
      // mount, umount2, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
      165, 166, 155, 161, 272, 308, 303, 304,
      // bpf, perf_event_open, userfaultfd, init_module, finit_module, delete_module, kexec_load, kexec_file_load, reboot
      321, 298, 323, 175, 313, 176, 246, 320, 169,
      // swapon, swapoff, syslog, acct, quotactl, settimeofday, clock_settime, clock_adjtime, sethostname, setdomainname
      167, 168, 103, 163, 179, 164, 227, 305, 170, 171,
      // iopl, ioperm, modify_ldt, lookup_dcookie, vhangup, nfsservctl
      172, 173, 154, 212, 153, 180,
      // memfd_create, shmget, semget, msgget
      319, 29, 64, 68,
    ],
    building: [101, 310, 311, 165, 166, 155, 161, 272, 319],
  },
  arm64: {
    id: 0xc00000b7,
    clone: 220,
    socket: 198,
    ioctl: 29,
    denied: [
      217, 218, 219, 117, 270, 271, 272, 40, 39, 41, 51, 97, 268, 264, 265, 280, 241, 282, 105, 273, 106, 104, 294, 142, 224, 225, 116, 89,
      60, 170, 112, 266, 161, 162, 18, 58, 42, 279, 194, 190, 186,
    ],
    building: [117, 270, 271, 40, 39, 41, 51, 97, 279],
  },
};

const [load, equal, atLeast, anyBit, answer] = [0x20, 0x15, 0x35, 0x45, 0x06];
const allow = 0x7fff0000;
const refuse = (errno: number) => 0x00050000 | errno;
const [notPermitted, notThere, noSuchFamily] = [refuse(1), refuse(38), refuse(97)];
/** Where the number, the machine and the low halves of two arguments lie. */
const [atNumber, atMachine, atFirst, atSecond] = [0, 4, 16, 24];
/** CLONE_NEW… of clone: mount, cgroup, host name, ipc, user, process and network namespaces. */
const namespaces = 0x7e020000;
/** Unix, IPv4, IPv6 and netlink, which C libraries ask for addresses. */
const families = [1, 2, 10, 16];
/** They type into the terminal of somebody else. */
const terminalInput = [0x5412, 0x541c];

type Step = readonly [code: number, value: number, ifTrue?: number, ifFalse?: number];

/**
 * Null where no table of this machine is known.
 *
 * @param mayBuild for a program of ours that makes a sandbox within, and filters what runs in it by itself
 */
export function systemCallFilter(arch: string, mayBuild = false): Buffer | null {
  const machine = Object.hasOwn(machines, arch) ? machines[arch] : undefined;
  if (machine === undefined) return null;
  const when = (number: number, then: readonly Step[]): Step[] => [[equal, number, 0, then.length], ...then];
  const steps: Step[] = [
    [load, atMachine],
    [equal, machine.id, 1, 0],
    [answer, notThere],
    [load, atNumber],
    ...(machine.foreignFrom === undefined
      ? []
      : ([
          [atLeast, machine.foreignFrom, 0, 1],
          [answer, notThere],
        ] as const)),
    ...[...machine.denied, ...everywhere]
      .filter((each) => !mayBuild || !machine.building.includes(each))
      .flatMap((number) => when(number, [[answer, notPermitted]])),
    // Its flags lie where no filter can look; C libraries take clone instead.
    ...when(clone3, [[answer, notThere]]),
    ...(mayBuild
      ? []
      : when(machine.clone, [
          [load, atFirst],
          [anyBit, namespaces, 0, 1],
          [answer, notPermitted],
          [answer, allow],
        ])),
    ...when(machine.socket, [
      [load, atFirst],
      ...families.flatMap((family): Step[] => [
        [equal, family, 0, 1],
        [answer, allow],
      ]),
      [answer, noSuchFamily],
    ]),
    ...when(machine.ioctl, [
      [load, atSecond],
      ...terminalInput.flatMap((command): Step[] => [
        [equal, command, 0, 1],
        [answer, notPermitted],
      ]),
    ]),
    [answer, allow],
  ];
  const program = Buffer.alloc(steps.length * 8);
  for (const [index, [code, value, ifTrue = 0, ifFalse = 0]] of steps.entries()) {
    program.writeUInt16LE(code, index * 8);
    program.writeUInt8(ifTrue, index * 8 + 2);
    program.writeUInt8(ifFalse, index * 8 + 3);
    program.writeUInt32LE(value >>> 0, index * 8 + 4);
  }
  return program;
}
