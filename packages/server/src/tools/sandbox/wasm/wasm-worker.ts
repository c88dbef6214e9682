import { setPriority } from 'node:os';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { FromThread, HostAnswer, HostQuestion, WasmEnd, WasmJob } from './messages.ts';
import { runModule } from './run-module.ts';

/** What the thread is started with: where it waits for an answer, and where that comes. */
export interface ThreadStart {
  readonly bell: Int32Array<SharedArrayBuffer>;
  readonly answers: MessagePort;
}

/**
 * The thread that runs modules. It imports only what lies beside it and packages, so that it starts from source and from the built
 * files alike.
 */
const niceness = 5;
const { bell, answers }: ThreadStart = workerData; // what the host starts it with
const say = (message: FromThread) => parentPort?.postMessage(message);

// The event loop of the server goes first when processors are scarce. Only Linux gives threads a priority of their own.
if (process.platform === 'linux') setPriority(0, niceness);

/** Asks the host and stands still until it has answered. */
function ask(question: HostQuestion): HostAnswer {
  Atomics.store(bell, 0, 0);
  say({ type: 'asks', question });
  Atomics.wait(bell, 0, 0);
  const received: { readonly message: HostAnswer } | undefined = receiveMessageOnPort(answers);
  return (
    received?.message ?? { type: 'refused', error: { code: 'sandbox_unavailable', message: 'the host gave no answer', retryable: true } }
  );
}

const silence = new Int32Array(new SharedArrayBuffer(4));

parentPort?.on('message', (job: WasmJob) => {
  const end: WasmEnd = runModule(job, {
    ask,
    log: (text) => say({ type: 'log', text }),
    onCompiled: (compiled) => say({ type: 'compiled', compiled }),
    clock: { nowNs: () => BigInt(Date.now()) * 1_000_000n, monotonicNs: () => process.hrtime.bigint() },
    pause: (ms) => void Atomics.wait(silence, 0, 0, ms),
  });
  say({ type: 'ended', end });
});
say({ type: 'ready' });
