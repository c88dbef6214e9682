import { Worker } from 'node:worker_threads';

/** What a thread of its own saw of `/healthz` while something else went on. */
export interface Health {
  readonly samples: number;
  /** The longest that an answer took, or has been taking. */
  readonly maxMs: number;
  /** The middle one: what the machine does to any request. */
  readonly medianMs: number;
  /** Answers other than 200, and connections that failed. */
  readonly failures: number;
}

export interface HealthWatch {
  /** Ends the watch. */
  stop(): Promise<Health>;
}

/** Samples on a kept connection, the next 5 ms after the last; a new connection after a failure. */
const program = `
const { parentPort, workerData } = require('node:worker_threads');
const http = require('node:http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const took = [];
let failures = 0, startedAt = 0, stopped = false;
function sample() {
  if (stopped) return;
  startedAt = performance.now();
  const request = http.get(workerData + '/healthz', { agent, timeout: 60000 }, (response) => {
    response.resume();
    response.on('end', () => done(response.statusCode === 200));
  });
  request.on('timeout', () => request.destroy(new Error('no answer for a minute')));
  request.on('error', () => done(false));
}
function done(ok) {
  took.push(performance.now() - startedAt);
  startedAt = 0;
  if (!ok) failures += 1;
  setTimeout(sample, 5);
}
parentPort.on('message', () => {
  stopped = true;
  if (startedAt > 0) took.push(performance.now() - startedAt);
  took.sort((a, b) => a - b);
  parentPort.postMessage({ samples: took.length, maxMs: took.at(-1) ?? 0, medianMs: took[took.length >> 1] ?? 0, failures });
  agent.destroy();
  parentPort.close();
});
parentPort.postMessage('ready');
sample();
`;

/** Watches `/healthz` from a thread of its own, which the work of the test does not hold up. */
export async function watchHealth(url: string): Promise<HealthWatch> {
  const worker = new Worker(program, { eval: true, workerData: url });
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return {
    stop: () =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.postMessage('stop');
      }),
  };
}
