import { Worker } from 'node:worker_threads';
import type { SeedJob } from './seed-thread.ts';
import type { SimulationOutcome } from './simulate.ts';

// The thread runs beside this file, from source and from the built files alike.
const isSource = import.meta.url.endsWith('.ts');
const threadUrl = new URL(isSource ? './seed-thread.ts' : './seed-thread.js', import.meta.url);

export interface SeedThreads {
  /** Simulates the seed on a thread that has nothing to do; there are as many as there are seeds at a time. Fails when the thread broke. */
  simulate(job: SeedJob): Promise<SimulationOutcome>;
  /** Ends all threads, whatever they do. */
  close(): Promise<void>;
}

/** Threads that simulate a seed at a time each: a simulation is a function of its seed, so it is the same on whichever. */
export function createSeedThreads(): SeedThreads {
  const threads = new Set<Worker>();
  const idle: Worker[] = [];

  function start(): Worker {
    const worker = new Worker(threadUrl, { env: {}, argv: [], execArgv: isSource ? ['--conditions=nexus-source'] : [] });
    threads.add(worker);
    return worker;
  }

  return {
    simulate(job) {
      const worker = idle.pop() ?? start();
      return new Promise((resolve, reject) => {
        const broken = (error: Error) =>
          reject(new Error(`seed ${job.seed}: the simulation itself broke: ${error.message}`, { cause: error }));
        const ended = () => broken(new Error('its thread ended'));
        worker.once('error', broken).once('exit', ended);
        worker.once('message', (outcome: SimulationOutcome) => {
          worker.off('error', broken).off('exit', ended);
          idle.push(worker);
          resolve(outcome);
        });
        worker.postMessage(job);
      });
    },
    async close() {
      await Promise.all([...threads].map((worker) => worker.terminate()));
    },
  };
}
