import { type Mutant, server } from './mutant.ts';

const jail = `${server}/tools/sandbox/jail`;
const jailTests = [`${server}/tools/sandbox/jail.test.ts`];
/** They need gVisor, which `.ci/run` fetches. */
const gvisorTests = [`${server}/tools/sandbox/gvisor.test.ts`];

/** Of jails, and of gVisor as the kernel of what runs in them. */
export const jailMutants: readonly Mutant[] = [
  {
    bug: 'jail: where a look takes long, nobody looks for long',
    file: `${jail}/watch.ts`,
    replace: 'Math.min(Math.max(lookEveryMs, 4 * lookMs), longestPauseMs)',
    by: 'Math.max(lookEveryMs, 4 * lookMs)',
    tests: [`${jail}/watch.test.ts`],
  },
  {
    bug: 'jail: memory that processes share and do not look at is free',
    file: `${jail}/watch.ts`,
    replace: 'Math.max(common, mapped)',
    by: 'common',
    tests: jailTests,
  },
  {
    bug: 'jail: what the kernel keeps to find pages is free',
    file: `${jail}/watch.ts`,
    replace: 'const counted = anonymous + tables + (',
    by: 'const counted = anonymous + (',
    tests: jailTests,
  },
  {
    bug: 'jail: files in memory without a name are free',
    file: `${jail}/seccomp.ts`,
    replace: '      319, 29, 64, 68,',
    by: '      29, 64, 68,',
    tests: jailTests,
  },
  {
    bug: 'jail: what System V shares is free',
    file: `${jail}/seccomp.ts`,
    replace: '      319, 29, 64, 68,',
    by: '      319,',
    tests: jailTests,
  },
  {
    bug: 'jail: the environment of a program is that of what sets its limits',
    file: `${jail}/plan.ts`,
    replace: '...carriedEnvironment(request, options.mark) }',
    by: '...carriedEnvironment(request, options.mark), ...request.env }',
    tests: jailTests,
  },
  {
    bug: 'gvisor: where it is missing, programs run in a weaker jail',
    file: `${jail}/jail.ts`,
    replace: '      return `gVisor is not installed',
    by: "      if (driver === 'gvisor') return null;\n      else return `gVisor is not installed",
    tests: gvisorTests,
  },
  {
    bug: 'gvisor: programs have the memory that was kept for their kernel, and much of it',
    file: `${jail}/gvisor.ts`,
    replace: 'kernelBytes = 64 * 1024 * 1024;',
    by: 'kernelBytes = 64 * 1024 ** 3;',
    tests: gvisorTests,
  },
  {
    bug: 'gvisor: programs may call all of its kernel',
    file: `${jail}/gvisor.ts`,
    replace: "...(has('system-calls') ? { seccomp } : {}),",
    by: '',
    tests: gvisorTests,
  },
  {
    bug: 'gvisor: programs see what its own is in the jail around',
    file: `${jail}/gvisor.ts`,
    replace: "      { destination: '/run', type: 'tmpfs', source: 'tmpfs', options: ['ro', 'size=4096', 'mode=755'] },\n",
    by: '',
    tests: gvisorTests,
  },
  {
    bug: 'gvisor: a program that ends with the code of its faults is taken for one',
    file: `${jail}/run.ts`,
    replace: " && kernel.faultWords.test(Buffer.from(stderr).toString('utf8'))",
    by: '',
    tests: gvisorTests,
  },
];
