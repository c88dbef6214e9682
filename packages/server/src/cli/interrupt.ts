import { exitCodes } from './exit-codes.ts';
import type { CliIo } from './io.ts';

export interface Interrupts {
  readonly interrupted: boolean;
  stop(): void;
}

/** The first interrupt runs `onFirst`, which should end the command in good order; the second ends the process. */
export function handleInterrupts(io: CliIo, onFirst: () => void): Interrupts {
  let interrupted = false;
  const stop = io.onSignal(() => {
    if (interrupted) return io.exit(exitCodes.interrupted);
    interrupted = true;
    onFirst();
  });
  return {
    get interrupted() {
      return interrupted;
    },
    stop,
  };
}
