import { NexusError, type Timers } from '#core';
import { type Asked, type OnAsked, refusedRequest } from './asked.ts';
import { type AnswerToServer, type RequestedCall, type WantedRules, wantedOf } from './wanted.ts';

/** What a call is made with. */
export interface TalkOptions {
  readonly signal: AbortSignal;
  readonly onAsked: OnAsked;
  readonly onProgress: (text: string) => void;
  readonly again?: { readonly inputResponses: Readonly<Record<string, unknown>>; readonly requestState?: string };
}

export type Talk = (options: TalkOptions) => Promise<unknown>;

/** What comes next of a call: its end, or what the server asks in the midst of it. */
export type NextOfCall =
  | { readonly type: 'ended'; readonly result: unknown }
  | { readonly type: 'asked'; readonly wanted: readonly RequestedCall[] };

interface Request {
  readonly wanted: RequestedCall;
  readonly answer: (answer: AnswerToServer) => void;
}

/** Of one call: so many in all, and so many that wait at a time. */
export const maxRequests = 20;
const maxAtOnce = 5;
/** What is asked at the same time is put to people at the same time. */
const gatherMs = 20;

/**
 * One call to a server that may ask in the midst of it. It outlives the attempt that began it, for as long as somebody is asked; whoever
 * goes on with it answers, and waits for what comes next.
 */
export class Conversation {
  /** Whoever watches the attempt that is under way. */
  onProgress: (text: string) => void = () => undefined;
  readonly #timers: Pick<Timers, 'after'>;
  readonly #rules: WantedRules;
  readonly #controller = new AbortController();
  /** Not told yet. */
  readonly #heard: Request[] = [];
  /** Told, and not answered. */
  readonly #told: Request[] = [];
  #outcome: { readonly result: unknown } | { readonly error: unknown } | undefined;
  #count = 0;
  #wake: () => void = () => undefined;

  constructor(timers: Pick<Timers, 'after'>, rules: WantedRules, talk: Talk, again?: TalkOptions['again']) {
    this.#timers = timers;
    this.#rules = rules;
    const options = {
      signal: this.#controller.signal,
      onAsked: (asked: Asked) => this.#hear(asked),
      onProgress: (text: string) => this.onProgress(text),
      ...(again === undefined ? {} : { again }),
    };
    talk(options).then(
      (result) => this.#end({ result }),
      (error: unknown) => this.#end({ error }),
    );
  }

  /** Tells the server that its call is cancelled. */
  abort(reason: NexusError): void {
    this.#controller.abort(reason);
  }

  /** Throws what the call failed with. Aborting the signal aborts the call. */
  async next(signal: AbortSignal): Promise<NextOfCall> {
    const onAbort = () => this.#controller.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (this.#outcome === undefined && this.#heard.length === 0) {
        await this.#change();
        // What was asked may be taken back meanwhile.
        if (this.#outcome === undefined) await this.#pause();
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    if (this.#outcome === undefined) {
      this.#told.push(...this.#heard.splice(0));
      return { type: 'asked', wanted: this.#told.map(({ wanted }) => wanted) };
    }
    if ('error' in this.#outcome) throw this.#outcome.error;
    return { type: 'ended', result: this.#outcome.result };
  }

  /** In the order in which they were told. */
  answer(answers: readonly AnswerToServer[]): void {
    for (const [index, request] of this.#told.splice(0).entries())
      request.answer(answers[index] ?? { type: 'refusal', message: 'nobody answered' });
  }

  #hear({ signal, ...asked }: Asked): Promise<unknown> {
    this.#count += 1;
    if (this.#count > maxRequests) throw refusedRequest(`a call may ask ${maxRequests} times`);
    if (this.#heard.length + this.#told.length >= maxAtOnce) throw refusedRequest(`a call may ask for ${maxAtOnce} things at a time`);
    let wanted: RequestedCall;
    try {
      wanted = wantedOf(asked, this.#rules);
    } catch (error) {
      throw error instanceof NexusError ? refusedRequest(error.message, -32_602) : error;
    }
    return new Promise((resolve, reject) => {
      const request: Request = {
        wanted,
        answer: (answer) => (answer.type === 'answer' ? resolve(answer.value) : reject(refusedRequest(answer.message, -1))),
      };
      this.#heard.push(request);
      signal?.addEventListener('abort', () => {
        const at = this.#heard.indexOf(request);
        if (at >= 0) this.#heard.splice(at, 1);
      });
      this.#wake();
    });
  }

  #end(outcome: { readonly result: unknown } | { readonly error: unknown }): void {
    this.#outcome = outcome;
    // A server that did not wait is told, or what it asked would be kept for as long as the connection lasts.
    for (const { answer } of [...this.#told, ...this.#heard]) answer({ type: 'refusal', message: 'the call is over' });
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#timers.after(gatherMs, resolve);
    this.#wake = () => this.#outcome !== undefined && resolve();
    await promise;
    cancel();
  }
}
