import { randomFillSync } from 'node:crypto';
import { errno, GuestExit, type GuestMemory, isStackSpent, unsigned } from './guest-memory.ts';
import type { WasmGrants } from './messages.ts';
import type { WasiFunction } from './wasi-files.ts';

export interface WasiWorld {
  readonly name: string;
  readonly grants: WasmGrants;
  /** Time in nanoseconds: of day, and since the thread began. Only asked where it is granted. */
  readonly clock: { readonly nowNs: () => bigint; readonly monotonicNs: () => bigint };
  /** Waits, and can be ended from outside. */
  readonly pause: (ms: number) => void;
}

const maxSubscriptions = 64;
const maxPauseMs = 600_000;

/** What a module may ask of the system of WASI that has nothing to do with files: little, and of the rest there is a stub. */
export function createWasi(memory: GuestMemory, world: WasiWorld, files: Record<string, WasiFunction>): Record<string, WasiFunction> {
  const argument = new TextEncoder().encode(`${world.name}\0`);
  const now = (id: number): bigint => {
    if (!world.grants.clock) return 0n;
    return id === 0 ? world.clock.nowNs() : world.clock.monotonicNs();
  };
  const fill = world.grants.random ? (bytes: Uint8Array) => void randomFillSync(bytes) : repeatableBytes();
  const isClock = (id: number) => unsigned(id) <= 3;

  const own: Record<string, WasiFunction> = {
    ...files,
    args_sizes_get(count: number, size: number) {
      memory.setNumber(count, 1);
      memory.setNumber(size, argument.length);
      return errno.ok;
    },
    args_get(pointers: number, buffer: number) {
      memory.setNumber(pointers, unsigned(buffer));
      memory.bytes(buffer, argument.length).set(argument);
      return errno.ok;
    },
    environ_sizes_get(count: number, size: number) {
      memory.setNumber(count, 0);
      memory.setNumber(size, 0);
      return errno.ok;
    },
    environ_get: () => errno.ok,
    clock_res_get(id: number, result: number) {
      if (!isClock(id)) return errno.inval;
      memory.setLong(result, 1_000_000n);
      return errno.ok;
    },
    clock_time_get(id: number, _precision: bigint, result: number) {
      if (!isClock(id)) return errno.inval;
      memory.setLong(result, now(id));
      return errno.ok;
    },
    random_get(pointer: number, length: number) {
      fill(memory.bytes(pointer, length));
      return errno.ok;
    },
    sched_yield: () => errno.ok,
    proc_exit(code: number) {
      throw new GuestExit(unsigned(code));
    },
    poll_oneoff(from: number, to: number, count: number, happened: number) {
      if (unsigned(count) === 0 || unsigned(count) > maxSubscriptions) return errno.inval;
      const { view } = memory;
      const waits: number[] = [];
      for (let index = 0; index < count; index++) {
        const subscription = unsigned(from) + index * 48;
        const event = unsigned(to) + index * 32;
        const kind = view.getUint8(subscription + 8);
        memory.bytes(event, 32).fill(0);
        memory.setLong(event, view.getBigUint64(subscription, true));
        view.setUint8(event + 10, kind);
        if (kind !== 0) continue;
        const timeout = view.getBigUint64(subscription + 24, true);
        const isAbsolute = (view.getUint16(subscription + 40, true) & 1) !== 0;
        const waitNs = isAbsolute ? timeout - now(view.getUint32(subscription + 16, true)) : timeout;
        waits.push(Math.max(0, Math.min(maxPauseMs, Number(waitNs) / 1e6)));
      }
      // Where time stands still, whatever was waited for is there at once.
      if (world.grants.clock && waits.length === count) world.pause(Math.min(...waits));
      memory.setNumber(happened, count);
      return errno.ok;
    },
  };

  const there = new Map(Object.entries(own));
  return Object.fromEntries(
    wasiNames.map((name) => {
      const call = there.get(name);
      return [name, call === undefined ? () => errno.nosys : guarded(call)];
    }),
  );
}

/**
 * A pointer that leads out of the memory is the module's fault, and it is told so. A stack that ran out under the host is no such thing: what
 * was being done is half done, and the module ends.
 */
export function guarded(action: WasiFunction, fault: number = errno.fault): WasiFunction {
  return (...values) => {
    try {
      return action(...values);
    } catch (error) {
      if (error instanceof RangeError && !isStackSpent(error)) return fault;
      throw error;
    }
  };
}

/** Numbers that look like chance and are the same each time (xorshift). */
function repeatableBytes(): (bytes: Uint8Array) => void {
  let state = 0x9e3779b9;
  return (bytes) => {
    for (let index = 0; index < bytes.length; index++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      bytes[index] = state & 0xff;
    }
  };
}

/** All of WASI preview 1. */
const wasiNames = [
  ...['args_get', 'args_sizes_get', 'environ_get', 'environ_sizes_get', 'clock_res_get', 'clock_time_get', 'fd_advise', 'fd_allocate'],
  ...['fd_close', 'fd_datasync', 'fd_fdstat_get', 'fd_fdstat_set_flags', 'fd_fdstat_set_rights', 'fd_filestat_get'],
  ...['fd_filestat_set_size', 'fd_filestat_set_times', 'fd_pread', 'fd_prestat_get', 'fd_prestat_dir_name', 'fd_pwrite', 'fd_read'],
  ...['fd_readdir', 'fd_renumber', 'fd_seek', 'fd_sync', 'fd_tell', 'fd_write', 'path_create_directory', 'path_filestat_get'],
  ...['path_filestat_set_times', 'path_link', 'path_open', 'path_readlink', 'path_remove_directory', 'path_rename', 'path_symlink'],
  ...['path_unlink_file', 'poll_oneoff', 'proc_exit', 'proc_raise', 'sched_yield', 'random_get', 'sock_accept', 'sock_recv', 'sock_send'],
  'sock_shutdown',
];
