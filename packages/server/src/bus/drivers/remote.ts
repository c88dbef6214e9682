import type { Socket } from 'node:net';
import { systemTimers } from '#core';

export interface RemoteBusOptions {
  readonly url: string;
  /** Told about failing listeners; the bus goes on. */
  readonly onError: (error: unknown) => void;
  /** Told whenever the server could not be used; the bus goes on and comes back by itself. */
  readonly onFailed: (error: unknown) => void;
  /** Told again and again while the server answers. */
  readonly onWorked: () => void;
}

/** How often a connection is asked whether it lives: one that a firewall has forgotten looks like one that has nothing to say. */
const askEveryMs = 5_000;
/** For a connection, and for an answer: a server that takes a connection and says nothing must hold nobody up. */
export const answerTimeoutMs = 5_000;

/** Asks for as long as it is not cancelled. `failed` hears of an answer that did not come in time, or was an error. */
export function keepAsking(ask: () => Promise<unknown>, { failed, worked }: { failed(error: unknown): void; worked(): void }): () => void {
  let giveUp: (() => void) | undefined;
  const stop = systemTimers.every(askEveryMs, () => {
    if (giveUp !== undefined) return;
    const end = (tell: () => void) => {
      if (giveUp !== cancel) return;
      cancel();
      giveUp = undefined;
      tell();
    };
    const cancel = systemTimers.after(answerTimeoutMs, () => end(() => failed(new Error(`no answer within ${answerTimeoutMs} ms`))));
    giveUp = cancel;
    ask().then(
      () => end(worked),
      (error: unknown) => end(() => failed(error)),
    );
  });
  return () => {
    stop();
    giveUp?.();
    giveUp = undefined;
  };
}

/** Waits until it is closed, politely for a moment. */
export async function closed(socket: Socket, politelyMs: number): Promise<void> {
  if (socket.closed) return;
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const cancel = systemTimers.after(politelyMs, () => socket.destroy());
  await gone;
  cancel();
}
