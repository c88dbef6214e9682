import { Worker } from 'node:worker_threads';

/** What a thread of its own saw of `/healthz` while something else went on. */
export interface Health {
  readonly samples: number;
  /** The longest that an answer took, or has been taking, without the time in which the machine let neither the server nor the watch run. */
  readonly maxMs: number;
  /** Of that answer, the time left out: waits of both threads for a core, and what the host of the machine took. */
  readonly withheldMs: number;
  /** Answers other than 200, and connections that failed. */
  readonly failures: number;
}

export interface HealthWatch {
  /** Ends the watch. */
  stop(): Promise<Health>;
}

/** Samples the address on a connection of its own, the next 5 ms after the last. */
const sampler = `
const { parentPort, workerData: { url, pid } } = require('node:worker_threads');
const { readFileSync } = require('node:fs');
const http = require('node:http');
const read = (path) => { try { return readFileSync(path, 'latin1'); } catch { return ''; } };
// Second figure: nanoseconds that the thread could run and had no core. The server answers on the first thread of its process.
const waitedMs = (thread) => Number(read(thread + '/schedstat').split(' ')[1] ?? 0) / 1e6;
// Eighth: hundredths of a second that the host of a virtual machine gave to others.
const stolenMs = () => Number(read('/proc/stat').split('\\n')[0].trim().split(/\\s+/)[8] ?? 0) * 10;
const withheld = () => waitedMs('/proc/' + pid + '/task/' + pid) + waitedMs('/proc/thread-self') + stolenMs();
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const seen = { samples: 0, maxMs: 0, withheldMs: 0, failures: 0 };
let startedAt = 0, withheldBefore = 0, stopped = false;
const note = () => {
  const withheldMs = Math.max(0, withheld() - withheldBefore);
  const ms = performance.now() - startedAt - withheldMs;
  if (ms > seen.maxMs) Object.assign(seen, { maxMs: ms, withheldMs });
};
const sample = () => {
  if (stopped) return;
  withheldBefore = withheld();
  startedAt = performance.now();
  const request = http.get(url + '/healthz', { agent, timeout: 60000 }, (response) => {
    response.resume();
    response.on('end', () => done(response.statusCode === 200));
  });
  request.on('timeout', () => request.destroy(new Error('no answer for a minute')));
  request.on('error', () => done(false));
};
const done = (ok) => {
  if (stopped) return;
  note();
  startedAt = 0;
  seen.samples += 1;
  if (!ok) seen.failures += 1;
  setTimeout(sample, 5);
};
sample();
parentPort.on('message', () => {
  if (startedAt > 0) note();
  stopped = true;
  agent.destroy();
  parentPort.postMessage(seen);
  parentPort.close();
});
parentPort.postMessage('ready');
`;

/** Watches `/healthz` of a process from a thread of its own, which the work of the test does not hold up. */
export async function watchHealth(url: string, pid: number): Promise<HealthWatch> {
  const worker = new Worker(sampler, { eval: true, workerData: { url, pid } });
  const message = <T>() =>
    new Promise<T>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  await message();
  return {
    stop() {
      const seen = message<Health>();
      worker.postMessage('stop');
      return seen;
    },
  };
}
