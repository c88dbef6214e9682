import { spawn } from 'node:child_process';
import { Worker } from 'node:worker_threads';

/** What a thread of its own saw of `/healthz` while something else went on. */
export interface Health {
  readonly samples: number;
  /** The longest that an answer took, or has been taking. */
  readonly maxMs: number;
  /** The same of a process that does nothing else: what the machine did to everybody meanwhile. */
  readonly idleMaxMs: number;
  /** Answers other than 200, and connections that failed. */
  readonly failures: number;
}

export interface HealthWatch {
  /** Ends the watch. */
  stop(): Promise<Health>;
}

/** Samples each address on a connection of its own, the next 5 ms after the last. */
const sampler = `
const { parentPort, workerData } = require('node:worker_threads');
const http = require('node:http');
function watch(url) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const seen = { samples: 0, maxMs: 0, failures: 0 };
  let startedAt = 0, stopped = false;
  const note = () => { seen.maxMs = Math.max(seen.maxMs, performance.now() - startedAt); };
  const sample = () => {
    if (stopped) return;
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
  return () => {
    if (startedAt > 0) note();
    stopped = true;
    agent.destroy();
    return seen;
  };
}
const ends = workerData.map(watch);
parentPort.on('message', () => {
  const [seen, idle] = ends.map((end) => end());
  parentPort.postMessage({ ...seen, idleMaxMs: idle.maxMs });
  parentPort.close();
});
parentPort.postMessage('ready');
`;

const idler = `
const server = require('node:http').createServer((request, response) => response.end('ok'));
server.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
`;

/** Watches `/healthz` from a thread of its own, which the work of the test does not hold up, and a process that has nothing to do. */
export async function watchHealth(url: string): Promise<HealthWatch> {
  const idle = spawn(process.execPath, ['-e', idler], { stdio: ['pipe', 'pipe', 'inherit'] });
  const idleUrl = await new Promise<string>((resolve, reject) => {
    idle.once('error', reject);
    idle.stdout.setEncoding('utf8').once('data', (line: string) => resolve(line.trim()));
  });
  const worker = new Worker(sampler, { eval: true, workerData: [url, idleUrl] });
  const message = <T>() =>
    new Promise<T>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  await message();
  return {
    async stop() {
      const seen = message<Health>();
      worker.postMessage('stop');
      try {
        return await seen;
      } finally {
        idle.stdin.end();
      }
    },
  };
}
