import { type ClientReadableStream, type ServiceError, status } from '@grpc/grpc-js';
import type { EffectsClass, ErrorInfo } from '@nexus-agent/protocol';
import { type Cancel, type Clock, NexusError, type Timers } from '#core';
import type { ToolCall, ToolCallEnd, ToolPart } from '#tools/contract';
import { partFromWire } from './messages.ts';
import { errorOf } from './status.ts';

/** What a call needs of the connection to the agent core. */
export interface CallConnection {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Where the agent core is, for messages. */
  readonly address: string;
  /** Resolves when it can be reached; rejects with `unavailable` when it cannot within the time that is set for it. */
  ready(signal: AbortSignal, maxMs?: number): Promise<void>;
  /** Throws a `NexusError` for a call that cannot be sent. */
  open(call: ToolCall): ClientReadableStream<unknown>;
  /** Asks the agent core to stop it: whether it knew the call. Rejects when it cannot be asked. */
  cancel(call: ToolCall): Promise<boolean>;
  /** What may happen when the call is made again; `once` where nobody knows. */
  effectsOf(call: ToolCall): EffectsClass;
  readonly running: Set<RemoteCall>;
  /** Hears of each call whose connection was lost, and what becomes of it. */
  lost(toolName: string, next: NextOfLost, error: Error): void;
}

/** What becomes of a call that lost its agent core: a person is asked, the model is told to try again, or code is computed on by whichever is there next. */
export type NextOfLost = 'unknown' | 'failed' | 'sentAgain';

type Read = IteratorResult<ToolPart, undefined>;
const done: Read = { value: undefined, done: true };

/** How long a call that was told to stop may take to say how it ended, its grace included. */
const stoppingMs = 10_000;
/** A call whose cancelling overtook it is cancelled again so often. */
const askAgainMs = 50;
const unaskedMs = 250;
/** Code whose agent core is lost is computed again so often: a program that ends its process must not do so for ever. */
const maxSentAgain = 2;

/**
 * One call at the agent core, as its reader here sees it. It ends as the agent core says, or, where the connection is lost before that,
 * as its effects have it: with `tool_outcome_unknown` for what may not be done twice, else with an error that may be tried again. Code that calls
 * other tools is sent again instead: from where it last waited, so that nothing that its calls did is done twice.
 */
export class RemoteCall implements AsyncIterableIterator<ToolPart, undefined> {
  readonly #connection: CallConnection;
  readonly #call: ToolCall;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => this.cancel();
  /** Fires when the call is to stop. */
  readonly #stopping = new AbortController();
  #state: 'new' | 'connecting' | 'open' | 'ended' = 'new';
  #startedMs = 0;
  #stream: ClientReadableStream<unknown> | undefined;
  #status: ServiceError | 'ended' | undefined;
  #end: ToolCallEnd | undefined;
  #left = false;
  #sentAgain = 0;
  #waiting: ((read: Read) => void) | undefined;
  #giveUp: Cancel = () => undefined;
  readonly #onEnd: (() => void)[] = [];

  constructor(connection: CallConnection, call: ToolCall, signal: AbortSignal) {
    this.#connection = connection;
    this.#call = call;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Read> {
    if (this.#state === 'new') this.#start();
    if (this.#waiting !== undefined) return Promise.reject(new TypeError('the parts of a call have one reader, which already waits'));
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#pump();
    });
  }

  /** The reader leaves: resolves when the call has ended. */
  async return(): Promise<Read> {
    this.#left = true;
    this.#end = undefined;
    this.#answer(done);
    if (this.#state === 'new') this.#state = 'ended';
    this.cancel();
    this.#pump();
    await this.ended();
    return done;
  }

  ended(): Promise<void> {
    if (this.#state === 'ended') return Promise.resolve();
    return new Promise((resolve) => this.#onEnd.push(resolve));
  }

  /** Tells the tool to stop. What it answers within its grace counts. */
  cancel(): void {
    if (this.#state === 'ended' || this.#stopping.signal.aborted) return;
    this.#stopping.abort(new NexusError('cancelled', `the call of ${this.#call.toolName} was cancelled`));
    if (this.#state === 'connecting') this.#refuse(this.#stopping.signal.reason);
    if (this.#state !== 'open') return;
    // Whoever takes the run over may come back to it: it is not told to stop.
    if (isLeft(this.#signal)) return void this.#stream?.cancel();
    this.#giveUp = this.#connection.timers.after(stoppingMs, () => this.#stream?.cancel());
    void this.#askToStop();
  }

  /** The call fails before the agent core has heard of it, this time. */
  #refuse(error: NexusError): void {
    this.#conclude({ type: 'failed', error: error.toInfo(), began: this.#sentAgain > 0, durationMs: this.#tookMs() });
  }

  #start(): void {
    const { clock, running } = this.#connection;
    this.#startedMs = clock.monotonic();
    this.#state = 'connecting';
    if (this.#signal.aborted) {
      this.#refuse(new NexusError('cancelled', `the call of ${this.#call.toolName} was cancelled before it began`));
      return;
    }
    running.add(this);
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#connect();
  }

  #connect(): void {
    this.#connection.ready(this.#stopping.signal).then(
      () => {
        if (this.#state === 'connecting') this.#open();
      },
      (error: unknown) => {
        if (this.#state !== 'connecting') return;
        if (this.#status === undefined) this.#refuse(refusalOf(error));
        else this.#conclude(this.#withoutEnd(this.#status)); // it was sent before, and nobody is there to take it again
      },
    );
  }

  #open(): void {
    try {
      const timeoutMs = Math.max(1, this.#call.timeoutMs - this.#tookMs());
      this.#stream = this.#connection.open(this.#sentAgain === 0 ? this.#call : { ...this.#call, timeoutMs });
    } catch (error) {
      this.#refuse(refusalOf(error));
      return;
    }
    this.#state = 'open';
    this.#status = undefined;
    const stream = this.#stream;
    // Parts are taken one by one, as they are read here: a reader that is slow holds the agent core back.
    stream.on('readable', () => this.#pump());
    stream.on('end', () => this.#settle(stream, 'ended'));
    stream.on('error', (error: ServiceError) => this.#settle(stream, error));
    this.#pump();
  }

  #settle(stream: ClientReadableStream<unknown>, how: ServiceError | 'ended'): void {
    if (stream !== this.#stream) return;
    this.#status ??= how;
    this.#pump();
  }

  async #askToStop(): Promise<void> {
    const { timers } = this.#connection;
    while (this.#state === 'open' && this.#end === undefined) {
      const isHeard = await this.#connection.cancel(this.#call).catch(() => undefined);
      if (isHeard === true) return;
      // One that cannot be asked for a moment is asked again, until the call is given up.
      await timers.sleep(isHeard === undefined ? unaskedMs : askAgainMs);
    }
  }

  #pump(): void {
    while (this.#end === undefined && this.#state === 'open' && (this.#left || this.#waiting !== undefined)) {
      const message: unknown = this.#stream?.read() ?? undefined;
      if (message === undefined) {
        if (this.#status === undefined) return;
        if (this.#isSentAgain(this.#status)) return;
        this.#conclude(this.#withoutEnd(this.#status));
        break;
      }
      const part = this.#partOf(message);
      if (part.type === 'completed' || part.type === 'failed') this.#conclude(part);
      else this.#answer({ value: part, done: false });
    }
    if (this.#state === 'ended' && this.#waiting !== undefined) {
      const end = this.#end;
      this.#end = undefined;
      this.#answer(end === undefined ? done : { value: end, done: false });
    }
  }

  /** Code computes without effects, and its calls are journalled: it is taken up from its last wait by whichever agent core is there next. */
  #isSentAgain(how: ServiceError | 'ended'): boolean {
    const { calling, resume, timeoutMs } = this.#call;
    const isCode = (calling !== undefined || resume !== undefined) && this.#connection.effectsOf(this.#call) === 'none';
    const isLost = how !== 'ended' && errorOf(how) === undefined && lostStatuses.has(how.code);
    if (!isCode || !isLost || this.#left || this.#stopping.signal.aborted) return false;
    if (this.#sentAgain >= maxSentAgain || this.#tookMs() >= timeoutMs) return false;
    this.#sentAgain += 1;
    this.#connection.lost(this.#call.toolName, 'sentAgain', how);
    this.#state = 'connecting';
    this.#connect();
    return true;
  }

  #partOf(message: unknown): ToolPart {
    const part = partFromWire(message);
    const isForeign =
      part?.type === 'completed' && part.files !== undefined && part.files.treeId !== (this.#call.filesOf ?? this.#call.sessionId);
    if (part !== undefined && !isForeign) return part;
    this.#stream?.cancel();
    return this.#lost('tool_failed', `${this.#connection.address} said something of ${this.#call.toolName} that cannot be read`);
  }

  #answer(read: Read): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(read);
  }

  #conclude(end: ToolCallEnd): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#giveUp();
    this.#connection.running.delete(this);
    this.#signal.removeEventListener('abort', this.#onAbort);
    if (!this.#left) this.#end = end;
    this.#stream?.resume(); // what comes after the end is nothing, but it must be read for the stream to close
    for (const resolve of this.#onEnd.splice(0)) resolve();
    if (this.#waiting !== undefined) this.#pump();
  }

  #withoutEnd(how: ServiceError | 'ended'): ToolCallEnd {
    const { address } = this.#connection;
    const { toolName } = this.#call;
    if (how === 'ended') return this.#lost('unavailable', `${address} ended the call of ${toolName} without saying how it went`);
    const stated = errorOf(how);
    // It is this process that has the wrong token, not whoever asked it for something.
    if (stated?.code === 'unauthenticated') return this.#refused(refusalByPeer(address, how).toInfo());
    if (stated !== undefined) return this.#refused(stated);
    switch (how.code) {
      case status.UNAUTHENTICATED:
      case status.PERMISSION_DENIED:
      case status.UNIMPLEMENTED:
        return this.#refused(refusalByPeer(address, how).toInfo());
      case status.CANCELLED:
        if (this.#stopping.signal.aborted) return this.#lost('cancelled', `the call of ${toolName} was cancelled`);
        break;
      case status.DEADLINE_EXCEEDED:
        return this.#lost('tool_timeout', `${address} did not end the call of ${toolName} in its time`);
      default:
        break;
    }
    this.#connection.lost(toolName, this.#isOnce() ? 'unknown' : 'failed', how);
    return this.#lost('unavailable', `the connection to ${address} was lost while ${toolName} ran`);
  }

  #refused(error: ErrorInfo): ToolCallEnd {
    return { type: 'failed', error, began: false, durationMs: this.#tookMs() };
  }

  /** The tool may have been called, and nobody says what came of it. */
  #lost(code: 'unavailable' | 'cancelled' | 'tool_timeout' | 'tool_failed', message: string): ToolCallEnd {
    const error = this.#isOnce()
      ? new NexusError('tool_outcome_unknown', `${message}; whether it took effect is not known`, { details: { cause: code } })
      : new NexusError(code, message);
    return { type: 'failed', error: error.toInfo(), began: true, durationMs: this.#tookMs() };
  }

  #isOnce(): boolean {
    return this.#connection.effectsOf(this.#call) === 'once';
  }

  #tookMs(): number {
    return Math.max(0, this.#connection.clock.monotonic() - this.#startedMs);
  }
}

/** The process gives the run up, and does not end it. */
function isLeft({ aborted, reason }: AbortSignal): boolean {
  return aborted && reason instanceof NexusError && (reason.code === 'lease_lost' || reason.code === 'unavailable');
}

/** What is said where the connection, or the process behind it, is gone. */
const lostStatuses: ReadonlySet<status> = new Set([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL, status.UNKNOWN]);

function refusalOf(error: unknown): NexusError {
  return error instanceof NexusError ? error : new NexusError('internal', 'the call could not be made', { cause: error });
}

/** Something between here and the agent core, or one of another version or setting, does not let a request through. */
export function refusalByPeer(address: string, { code, details }: Pick<ServiceError, 'code' | 'details'>): NexusError {
  const what = `${status[code] ?? code}${details ? `: ${details.slice(0, 200)}` : ''}`;
  return new NexusError('unavailable', `the agent core at ${address} does not take requests from here (${what}); see tools.remote`, {
    retryable: false,
  });
}
