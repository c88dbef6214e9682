import { type Cancel, type Clock, NexusError, type Timers, unknownTool } from '#core';
import type { CataloguedTool, TenantTools, ToolCatalogue } from '#tools/catalogue';
import {
  type CallFolder,
  type CallFolders,
  checkArguments,
  type Tool,
  type ToolCall,
  type ToolCallEnd,
  type ToolContext,
  type ToolPart,
  type ToolResult,
} from '#tools/contract';
import { boundText } from './bounds.ts';
import { type ArtifactKeeping, keepLong } from './long-result.ts';
import { type Conclusion, cleanError, conclude, failed, fault, type LongResult, type Outcome, type OutcomeRules } from './outcome.ts';
import { PartQueue } from './part-queue.ts';
import { askedFiles, CallQuestions, callIsOver, type QuestionsEnvironment } from './questions.ts';
import type { GatePass, ToolGates } from './tool-gates.ts';
import { verdictOf } from './verdict.ts';

/** What all calls share. */
export interface CallEnvironment extends OutcomeRules, QuestionsEnvironment {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly catalogue: ToolCatalogue;
  readonly folders: CallFolders;
  /** Undefined: results that are too long are cut. */
  readonly artifacts: ArtifactKeeping | undefined;
  /** What each call passes before it begins. */
  readonly gates: ToolGates;
  /** Hears how each call ended, with what is known of its tool. */
  readonly onEnd: ((call: FinishedCall) => void) | undefined;
  /** Most characters of progress that one call may send. */
  readonly maxProgressChars: number;
  /** How long a tool may take to stop after it was told to. */
  readonly graceMs: number;
  /** Why no call begins any more, if so. */
  readonly refusal: () => NexusError | undefined;
  readonly running: Set<RunningCall>;
}

/** How a call ended, for whoever counts. */
export interface FinishedCall {
  readonly toolName: string;
  /** Left out where there was no such tool, or nobody looked for it yet. */
  readonly tool: CataloguedTool['descriptor'] | undefined;
  readonly end: ToolCallEnd;
}

/** One call from its first read to its end, as the parts that its reader sees. Written out by hand: a call costs few promises. */
export class RunningCall implements AsyncIterableIterator<ToolPart, undefined> {
  readonly #environment: CallEnvironment;
  readonly #call: ToolCall;
  readonly #outerSignal: AbortSignal;
  readonly #parts = new PartQueue();
  readonly #controller = new AbortController();
  readonly #questions: CallQuestions;
  readonly #onOuterAbort = () => this.#stop(whyStopped(this.#outerSignal, this.#call.toolName));
  #state: 'new' | 'preparing' | 'waiting' | 'calling' | 'keeping' | 'ended' = 'new';
  #startedAt = 0;
  #waitedMs = 0;
  #tool: Tool | undefined;
  #found: CataloguedTool | undefined;
  #pass: GatePass | undefined;
  /** The time that the call has, whatever it waits for in it. */
  #limitMs = 0;
  #crashed = false;
  /** What is held back of the progress, as it may be the beginning of a secret. */
  #restOfProgress: () => string = () => '';
  #folder: CallFolder | undefined;
  #keeping: AbortController | undefined;
  #cancelTimer: Cancel | undefined;
  #onEnd: (() => void)[] | undefined;

  constructor(environment: CallEnvironment, call: ToolCall, signal: AbortSignal) {
    this.#environment = environment;
    this.#call = call;
    this.#outerSignal = signal;
    this.#questions = new CallQuestions(environment, call, this.#controller.signal, (part) => this.#parts.push(part));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<ToolPart, undefined>> {
    if (this.#state === 'new') this.#start();
    return this.#parts.read();
  }

  /** The reader leaves. */
  async return(): Promise<IteratorResult<ToolPart, undefined>> {
    if (this.#state === 'new') this.#state = 'ended';
    this.#parts.discard();
    this.cancel();
    await this.ended();
    return { value: undefined, done: true };
  }

  cancel(why = `the call of ${this.#call.toolName} was cancelled`): void {
    if (this.#state === 'ended') return;
    this.#stop(new NexusError('cancelled', why));
  }

  ended(): Promise<void> {
    if (this.#state === 'ended') return Promise.resolve();
    return new Promise((resolve) => {
      this.#onEnd ??= [];
      this.#onEnd.push(resolve);
    });
  }

  #start() {
    const { clock, timers, catalogue, gates, running, refusal } = this.#environment;
    const { tenantId, toolName, timeoutMs } = this.#call;
    this.#startedAt = clock.monotonic();
    this.#state = 'preparing';
    const closed = refusal();
    if (closed !== undefined) return this.#refuse(closed);
    const isStopped = this.#outerSignal.aborted;
    if (isStopped && !mustBeTold(this.#call, whyStopped(this.#outerSignal, toolName)))
      return this.#refuse(new NexusError('cancelled', `the call of ${toolName} was cancelled before it began`));
    running.add(this);
    this.#outerSignal.addEventListener('abort', this.#onOuterAbort, { once: true });
    const limitMs = Math.max(0, Math.min(timeoutMs, gates.limitsOf(toolName).timeoutMs ?? timeoutMs));
    this.#limitMs = limitMs;
    this.#cancelTimer = timers.after(limitMs, () =>
      this.#stop(new NexusError('tool_timeout', `the tool ${toolName} did not finish within ${limitMs} ms`)),
    );
    if (isStopped) this.#onOuterAbort();
    const tools = catalogue.peek(tenantId);
    if (tools !== undefined) return this.#prepare(tools);
    catalogue.load(tenantId).then(
      (loaded) => this.#prepare(loaded),
      (error: unknown) => this.#unprepared(error, 'the tools of the tenant could not be found'),
    );
  }

  #prepare(tools: TenantTools) {
    if (this.#state !== 'preparing') return;
    const { toolName, toolVersion, input } = this.#call;
    const found = tools.find(toolName);
    if (found === undefined) return this.#refuse(unknownTool(toolName, listedNames(tools)));
    this.#found = found;
    const { descriptor } = found;
    if (toolVersion !== undefined && toolVersion !== descriptor.version)
      return this.#refuse(
        new NexusError('conflict', `the tool ${toolName} has changed since this call was made; read its description again`),
      );
    const checked = checkArguments(this.#environment.schemas, descriptor, input);
    if (checked.type === 'ok') return this.#enter(found, checked.input);
    // What began by an earlier version was checked by that one.
    if (this.#call.rejoins === true) return this.#enter(found, input as Record<string, unknown>);
    this.#end(failed(checked.error));
  }

  /** It takes its turn among the calls of its tool. What does not get one has not begun; what has begun elsewhere needs none. */
  #enter(found: CataloguedTool, input: Record<string, unknown>) {
    const { tenantId, sessionId, runId, rejoins } = this.#call;
    const { signal } = this.#controller;
    if (rejoins === true) return this.#proceed(found.tool, input);
    const entered = this.#environment.gates.enter(found, { tenantId, sessionId, runId }, signal);
    if (!(entered instanceof Promise)) return this.#entered(found.tool, input, entered);
    this.#state = 'waiting';
    entered.then(
      (passed) => {
        this.#state = 'preparing';
        if (signal.aborted && !(passed instanceof NexusError)) {
          passed.end('unknown');
          this.#refuse(signal.reason);
        } else this.#entered(found.tool, input, passed);
      },
      (error: unknown) => {
        this.#state = 'preparing';
        this.#unprepared(error, `the turn of ${found.tool.name} could not be waited for`);
      },
    );
  }

  #entered(tool: Tool, input: Record<string, unknown>, passed: GatePass | NexusError) {
    if (passed instanceof NexusError) return this.#refuse(passed);
    this.#pass = passed;
    this.#waitedMs += passed.waitedMs;
    this.#proceed(tool, input);
  }

  #proceed(tool: Tool, input: Record<string, unknown>) {
    if (!needsFiles(tool)) return this.#invoke(tool, input);
    const { tenantId, sessionId, filesOf } = this.#call;
    const request = {
      ...{ tenantId, sessionId, shared: tool.sharesFolder === true, mayWrite: tool.permissions.includes('fs.write') },
      ...(filesOf === undefined ? {} : { filesOf }),
    };
    this.#environment.folders.open(request, this.#controller.signal).then(
      (folder) => {
        if (this.#state !== 'preparing') return folder.discard();
        this.#folder = folder;
        this.#invoke(tool, input);
      },
      (error: unknown) => this.#unprepared(error, 'the folder of the session cannot be made'),
    );
  }

  #unprepared(error: unknown, message: string) {
    if (this.#state !== 'preparing') return;
    if (error instanceof NexusError) return this.#refuse(error);
    const { callId, toolName } = this.#call;
    this.#end(fault(this.#environment, { callId, tool: { name: toolName } }, error, message));
  }

  #invoke(tool: Tool, input: Record<string, unknown>) {
    if (this.#state !== 'preparing') return;
    this.#state = 'calling';
    this.#tool = tool;
    let answer: Promise<ToolResult>;
    try {
      answer = Promise.resolve(tool.execute(input, this.#context())); // one written without types may give no promise
    } catch (error) {
      return this.#conclude({ type: 'threw', error });
    }
    answer.then(
      (result) => this.#conclude({ type: 'returned', result }),
      (error: unknown) => this.#conclude({ type: 'threw', error }),
    );
  }

  #context(): ToolContext {
    const { tenantId, sessionId, runId, callId, attempt, idempotencyKey, traceparent, calling, resume, rejoins } = this.#call;
    const { signal } = this.#controller;
    const ask: ToolContext['authorize'] = (request) => this.#questions.ask(request);
    let left = this.#environment.maxProgressChars;
    const progress = this.#environment.secrets.stream();
    this.#restOfProgress = () => progress.end();
    return {
      tenantId,
      sessionId,
      runId,
      callId,
      attempt,
      idempotencyKey,
      ...(traceparent === undefined ? undefined : { traceparent }),
      ...(calling === undefined ? undefined : { calling }),
      ...(resume === undefined ? undefined : { resume }),
      ...(rejoins === undefined ? undefined : { rejoins }),
      workspace: this.#folder?.path ?? '',
      files: askedFiles(this.#folder?.files, ask),
      signal,
      onOutput: (text) => {
        if (signal.aborted || left <= 0 || text === '') return;
        const clean = progress.push(text);
        if (clean === '') return;
        this.#parts.push({ type: 'output', text: boundText(clean, left) });
        left -= clean.length;
      },
      onWait: (ms) => {
        // A tool that was written without types can say anything.
        if (ms > 0 && Number.isFinite(ms)) this.#waitedMs += ms;
      },
      authorize: ask,
    };
  }

  /** Tells the tool to stop. It may take the grace to do so; what has not begun ends at once. */
  #stop(reason: NexusError) {
    if (this.#state === 'ended' || this.#controller.signal.aborted) return;
    if (this.#state === 'waiting') return this.#abort(reason); // the queue says what it waited for
    if (this.#state !== 'calling' && this.#state !== 'keeping' && !mustBeTold(this.#call, reason)) return this.#refuse(reason);
    this.#cancelTimer?.();
    this.#cancelTimer = this.#environment.timers.after(this.#environment.graceMs, () => {
      // An answer that came in time is not kept from its files by what it took to come, but by what they take.
      if (this.#state === 'keeping') this.#keeping?.abort(reason);
      else if (this.#state === 'calling') this.#conclude({ type: 'silent' });
      else this.#refuse(reason);
    });
    this.#abort(reason);
  }

  #abort(reason: NexusError): void {
    this.#controller.abort(reason);
    this.#questions.refuseAll();
  }

  #conclude(outcome: Outcome): void {
    if (this.#state !== 'calling' || this.#tool === undefined) return;
    const { callId } = this.#call;
    this.#crashed = outcome.type === 'threw' && !(outcome.error instanceof NexusError);
    const tool = this.#tool;
    const keepsLong = this.#environment.artifacts !== undefined && tool.ofArtifacts !== true;
    const conclusion = conclude(this.#environment, { callId, tool, signal: this.#controller.signal, keepsLong }, outcome);
    const folder = this.#folder;
    if (conclusion.type === 'long' || (folder !== undefined && conclusion.type === 'completed')) {
      this.#keep(folder, conclusion);
      return;
    }
    if (outcome.type === 'silent') folder?.abandon();
    else folder?.discard();
    this.#end(conclusion);
  }

  /** The call has gone well once the files that it wrote are kept. What it gave is kept, too, where it is too long and can be. */
  #keep(folder: CallFolder | undefined, conclusion: Extract<Conclusion, { type: 'completed' }> | LongResult): void {
    this.#state = 'keeping';
    this.#keeping = new AbortController();
    const { callId, toolName } = this.#call;
    keptResult(this.#environment, this.#call, folder, conclusion, this.#keeping.signal).then(
      (whole) => this.#end(whole),
      (error: unknown) => {
        const message = `${toolName} did its work, but the files that it wrote could not be kept`;
        if (!(error instanceof NexusError))
          return this.#end(fault(this.#environment, { callId, tool: { name: toolName } }, error, message));
        this.#end(failed({ ...error.toInfo(), message: `${message}: ${error.message}` }));
      },
    );
  }

  #refuse(error: NexusError): void {
    this.#end(failed(error.toInfo()));
  }

  #end(conclusion: Conclusion): void {
    this.#state = 'ended';
    this.#pass?.end(
      verdictOf({
        error: conclusion.type === 'failed' ? conclusion.error : null,
        tool: this.#tool,
        crashed: this.#crashed,
        signal: this.#controller.signal,
        hadMs: this.#limitMs - this.#waitedMs,
        mostMs: this.#environment.gates.limitsOf(this.#call.toolName).timeoutMs,
      }),
    );
    this.#cancelTimer?.();
    this.#environment.running.delete(this);
    this.#outerSignal.removeEventListener('abort', this.#onOuterAbort);
    // Progress and permissions end with the call, also for a tool that was given up and still runs.
    if (!this.#controller.signal.aborted) this.#abort(callIsOver);
    const rest = this.#restOfProgress();
    if (rest !== '') this.#parts.push({ type: 'output', text: rest });
    const durationMs = Math.max(0, this.#environment.clock.monotonic() - this.#startedAt);
    const end =
      conclusion.type === 'failed'
        ? { ...conclusion, error: cleanError(this.#environment, conclusion.error), began: this.#tool !== undefined }
        : conclusion;
    const whole = { ...end, durationMs, ...(this.#waitedMs >= 1 ? { waitedMs: Math.min(this.#waitedMs, durationMs) } : undefined) };
    this.#parts.end(whole);
    this.#environment.onEnd?.({ toolName: this.#call.toolName, tool: this.#found?.descriptor, end: whole });
    for (const resolve of this.#onEnd ?? []) resolve();
  }
}

/** What the call ends with, once its files are kept, and its result where it is too long. Throws where the files cannot be kept. */
async function keptResult(
  environment: CallEnvironment,
  call: ToolCall,
  folder: CallFolder | undefined,
  conclusion: Extract<Conclusion, { type: 'completed' }> | LongResult,
  signal: AbortSignal,
): Promise<Conclusion> {
  const { note = '', ...files } = folder === undefined ? {} : await folder.keep(signal);
  const ofFiles = 'treeId' in files ? { files } : {};
  if (conclusion.type === 'completed') {
    const output = note === '' ? conclusion.output : boundText(`${conclusion.output}\n${note}`, environment.maxOutputChars);
    return { ...conclusion, output, ...ofFiles };
  }
  const { artifacts, onFault } = environment;
  const { tenantId, toolName, callId, readsArtifacts: isReader = false } = call;
  if (artifacts === undefined) throw new NexusError('internal', `nothing is kept of results, and that of ${toolName} is too long`);
  const rules = { ...environment, artifacts, isReader, onFault: (error: unknown) => onFault?.({ toolName, callId, error }) };
  const kept = await keepLong(rules, { ...conclusion, tenantId }, note, signal);
  return { type: 'completed', costMicroUsd: conclusion.costMicroUsd, ...kept, ...ofFiles };
}

function listedNames({ descriptors }: TenantTools): string[] {
  return descriptors.map(({ name }) => name);
}

/** A process that gives a run up leaves calls that go on elsewhere to who takes it over: they are not told to stop. */
function whyStopped({ reason }: AbortSignal, toolName: string): NexusError {
  const isLeft = reason instanceof NexusError && (reason.code === 'lease_lost' || reason.code === 'unavailable');
  if (isLeft) return new NexusError('lease_lost', reason.message, { cause: reason });
  return new NexusError('cancelled', `the call of ${toolName} was cancelled`);
}

/** One that began elsewhere goes on there until it is told to stop, which its tool alone can do. */
function mustBeTold({ rejoins }: ToolCall, { code }: NexusError): boolean {
  return rejoins === true && code !== 'lease_lost';
}

function needsFiles({ permissions, ofArtifacts }: Tool): boolean {
  return ofArtifacts !== true && permissions.some((permission) => permission.startsWith('fs.') || permission.startsWith('code.'));
}
