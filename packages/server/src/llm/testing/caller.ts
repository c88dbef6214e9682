import { type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import { systemTimers, toErrorInfo } from '#core';
import type { AttemptFailure, ModelPart, ModelRequest, ModelService, ModelTarget } from '#llm/contract';
import { InputCounts } from '#llm/tokens';

/** What a caller grants an attempt. */
export type Grant =
  | { readonly type: 'granted'; readonly maxOutputTokens: number; readonly timeoutMs: number }
  /** Passes the target over, or ends the call when it is `final`. */
  | { readonly type: 'refused'; readonly error: ErrorInfo; readonly final: boolean };

interface Begin {
  readonly target: ModelTarget;
  /** From 1. */
  readonly attempt: number;
  readonly previous: AttemptFailure | null;
}

interface Failed {
  readonly target: ModelTarget;
  readonly attempt: number;
  readonly error: ErrorInfo;
  readonly usage: Usage;
  readonly sent: boolean;
}

/** The rules of a caller, who writes down what happens. */
export interface Gate {
  /** `begin 1 sim/sim-large`, `failed 1 provider_unavailable`, in order. */
  readonly log: string[];
  readonly begins: Begin[];
  /** Of attempts that another one was to follow. */
  readonly failures: Failed[];
  begin(attempt: Begin): Promise<Grant>;
  failed(attempt: Failed): void;
}

/** By default it grants everything for ten seconds. */
export function recordGate(answer: (attempt: Begin) => Grant | Promise<Grant> = () => grant()): Gate {
  const log: string[] = [];
  const begins: Begin[] = [];
  const failures: Failed[] = [];
  return {
    log,
    begins,
    failures,
    async begin(attempt) {
      log.push(`begin ${attempt.attempt} ${attempt.target.provider}/${attempt.target.model}`);
      begins.push(attempt);
      return answer(attempt);
    },
    failed(attempt) {
      log.push(`failed ${attempt.attempt} ${attempt.error.code}`);
      failures.push(attempt);
    },
  };
}

export function grant(timeoutMs = 10_000, maxOutputTokens = 1_000): Grant {
  return { type: 'granted', maxOutputTokens, timeoutMs };
}

export interface CallOptions {
  readonly models: readonly string[];
  /** Instead of what the models resolve to. */
  readonly targets?: readonly ModelTarget[];
  readonly gate?: Gate;
  readonly signal?: AbortSignal;
  readonly traceparent?: string;
  /** Waited for before the next part is asked for. */
  readonly onPart?: (part: ModelPart) => void | Promise<void>;
}

type Terminal = Extract<ModelPart, { type: 'completed' | 'failed' }>;

/** How a call ended: the terminal part of its last attempt, or the refusal or cancellation that came instead of one. */
export type CallEnd = Terminal & { readonly target: ModelTarget; readonly attempt: number };

export interface Called {
  readonly parts: readonly ModelPart[];
  readonly last: CallEnd;
  readonly text: string;
  readonly reasoning: string;
}

/** Plays the caller of a model service: attempts, and what the service advises after each, until one answers or none is left. */
export async function call(service: ModelService, request: ModelRequest, options: CallOptions): Promise<Called> {
  const { gate = recordGate(), signal = new AbortController().signal } = options;
  const targets = options.targets ?? (await service.resolve(options.models));
  const parts: ModelPart[] = [];
  const failures: AttemptFailure[] = [];
  let target = targets[0];
  let previous: AttemptFailure | null = null;
  if (target === undefined) throw new Error('a call needs a target');

  const done = (last: CallEnd): Called => {
    const deltas = (type: ModelPart['type']) => parts.map((part) => (part.type === type && 'text' in part ? part.text : '')).join('');
    return { parts, last, text: deltas('text.delta'), reasoning: deltas('reasoning.delta') };
  };

  for (let attempt = 1; ; attempt++) {
    const at = { target, attempt };
    const unsent = (error: ErrorInfo) => done({ type: 'failed', error, retryAfterMs: null, usage: noUsage, sent: false, ...at });
    const granted = await gate.begin({ ...at, previous });
    let sawText = false;
    let remainingMs = 0;
    if (granted.type === 'refused') {
      if (granted.final) return unsent(granted.error);
      failures.push({ target, error: granted.error, retryAfterMs: null, refused: true });
    } else {
      const startedMs = performance.now();
      const { last, seen } = await readAttempt(
        service,
        { ...granted, inputTokens: new InputCounts().bound({ tenantId: 't', target, request }), request, target },
        { ...options, signal },
        parts,
      );
      if (last.type === 'completed') return done({ ...last, ...at });
      sawText = seen;
      remainingMs = granted.timeoutMs - (performance.now() - startedMs);
      failures.push({ target, error: last.error, retryAfterMs: last.retryAfterMs, refused: false });
    }
    const { error } = failures.at(-1) ?? { error: null };
    const end = parts.at(-1);
    const advice = signal.aborted ? ({ type: 'none' } as const) : await service.next({ targets, failures, remainingMs, sawText });
    const failed = granted.type === 'granted' && end?.type === 'failed' ? end : null;
    if (advice.type === 'none') {
      if (failed !== null) return done({ ...failed, ...at });
      return unsent(error ?? { code: 'internal', message: 'nothing was tried' });
    }
    if (failed !== null) {
      gate.failed({ ...at, ...failed });
      previous = failures.at(-1) ?? null;
    }
    try {
      await systemTimers.sleep(advice.delayMs, signal);
    } catch (thrown) {
      return unsent(toErrorInfo(thrown));
    }
    target = advice.target;
  }
}

/** Reads one attempt to its end, and checks that exactly one terminal part ends it. */
async function readAttempt(
  service: ModelService,
  attempt: Parameters<ModelService['attempt']>[0],
  options: CallOptions & { readonly signal: AbortSignal },
  parts: ModelPart[],
): Promise<{ readonly last: Terminal; readonly seen: boolean }> {
  const { signal, traceparent, onPart } = options;
  const { target, request, inputTokens, maxOutputTokens, timeoutMs } = attempt;
  const message = { target, request, inputTokens, maxOutputTokens, timeoutMs, ...(traceparent === undefined ? {} : { traceparent }) };
  const own: ModelPart[] = [];
  for await (const part of service.attempt(message, { signal })) {
    own.push(part);
    await onPart?.(part);
  }
  parts.push(...own);
  const [last, ...more] = own.filter((part) => part.type === 'completed' || part.type === 'failed');
  if (last === undefined || more.length > 0 || own.at(-1) !== last) throw new Error(`not one terminal part: ${JSON.stringify(own)}`);
  return { last, seen: own.some((part) => part.type === 'text.delta' || part.type === 'reasoning.delta') };
}
