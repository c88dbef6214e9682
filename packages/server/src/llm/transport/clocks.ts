/** Node fires a timer of more than this at once. */
const maxTimerMs = 2_147_483_647;

interface Times {
  readonly firstByteTimeoutMs?: number | undefined;
  readonly idleTimeoutMs: number;
}

/** The clocks of one call: the first byte, the silence within the answer, and the whole. */
export function watchTime(
  { firstByteTimeoutMs, idleTimeoutMs }: Times,
  totalTimeoutMs: number,
  onTimeout: (limit: 'first_byte' | 'idle' | 'total', what: string) => void,
) {
  // Many a server sends the head at once and thinks then: what is waited for is the first byte behind it.
  let flowing = false;
  let silence = watch();
  const onLate = () => onTimeout('total', `did not finish within ${totalTimeoutMs} ms`);
  const deadline = setTimeout(onLate, Math.min(totalTimeoutMs, maxTimerMs));

  function watch(): NodeJS.Timeout | undefined {
    const limit = flowing ? idleTimeoutMs : firstByteTimeoutMs;
    return limit === undefined ? undefined : setTimeout(onSilence, Math.min(limit, maxTimerMs));
  }

  function onSilence(): void {
    if (flowing) onTimeout('idle', `sent nothing for ${idleTimeoutMs} ms`);
    else onTimeout('first_byte', `did not answer within ${firstByteTimeoutMs} ms`);
  }

  function pause(): void {
    clearTimeout(silence);
    silence = undefined;
  }

  function resume(): void {
    pause();
    silence = watch();
  }

  return {
    /** A part of the body came. */
    heard(): void {
      if (flowing) return void silence?.refresh();
      flowing = true;
      resume();
    },
    /** The body is not read: its silence is ours. */
    pause,
    resume,
    stop(): void {
      pause();
      clearTimeout(deadline);
    },
  };
}
