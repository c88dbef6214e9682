import type { Dispatcher } from 'undici';
import type { BodyPipe } from './encodings.ts';

interface FlowParts {
  isSettled(): boolean;
  controller(): Dispatcher.DispatchController | null;
  body(): BodyPipe | null;
}

/** What keeps an answer from being read on: its reader, its unpacking, and the turns of others. */
export function createFlow({ isSettled, controller, body }: FlowParts) {
  let paused = false;
  let congested = false; // the body is decompressed more slowly than it comes
  let sliced = false; // others are to have their turn before more of it is read
  const isHeld = () => congested || sliced || paused;
  function flow(): void {
    if (isSettled()) return;
    if (isHeld()) controller()?.pause();
    else controller()?.resume();
  }
  return {
    isHeld,
    congested(wait: boolean): void {
      congested = wait;
      flow();
    },
    /** What is packed may be any amount: its unpacking waits, too. */
    sliced(wait: boolean): void {
      sliced = wait;
      if (isSettled()) return;
      if (wait || paused) body()?.pause();
      else body()?.resume();
      flow();
    },
    /** Whether it was not paused before, and can be. */
    pause(): boolean {
      if (isSettled() || paused || controller() === null) return false;
      paused = true;
      controller()?.pause();
      body()?.pause();
      return true;
    },
    /** Whether it was paused, and is to go on by `go`. */
    unpause(): boolean {
      if (!paused) return false;
      paused = false;
      return !isSettled();
    },
    go(): void {
      if (!sliced) body()?.resume();
      flow();
    },
  };
}
