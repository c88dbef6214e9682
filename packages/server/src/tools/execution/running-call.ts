import { type Cancel, type Clock, NexusError, type Timers } from '#core';
import type { CataloguedTool, TenantTools, ToolCatalogue } from '#tools/catalogue';
import {
  type AuthorizationAnswer,
  type AuthorizationRequest,
  type AuthorizationVerdict,
  type CallFiles,
  type CallFolder,
  type CallFolders,
  checkArguments,
  refusedFile,
  type Tool,
  type ToolCall,
  type ToolCallEnd,
  type ToolContext,
  type ToolPart,
  type ToolResult,
} from '#tools/contract';
import { boundText } from './bounds.ts';
import { type Conclusion, cleanError, conclude, failed, fault, type Outcome, type OutcomeRules } from './outcome.ts';
import { PartQueue } from './part-queue.ts';
import type { GatePass, ToolGates } from './tool-gates.ts';
import { verdictOf } from './verdict.ts';

/** What all calls share. */
export interface CallEnvironment extends OutcomeRules {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly catalogue: ToolCatalogue;
  readonly folders: CallFolders;
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
  /** Who waits for an answer, by the id of the question. */
  readonly asking: Map<string, RunningCall>;
  readonly nextAuthorizationId: () => string;
}

/** How a call ended, for whoever counts. */
export interface FinishedCall {
  readonly toolName: string;
  /** Left out where there was no such tool, or nobody looked for it yet. */
  readonly tool: CataloguedTool['descriptor'] | undefined;
  readonly end: ToolCallEnd;
}

const callIsOver = new NexusError('cancelled', 'the call is over');
const refuseFiles = async (): Promise<never> => {
  throw new NexusError('path_not_allowed', 'a tool that does not declare fs.write changes no files');
};
const noFiles: CallFiles = { write: refuseFiles, remove: refuseFiles, move: refuseFiles };
const refusedAfterEnd: AuthorizationVerdict = { allowed: false, error: callIsOver.toInfo() };

/** One call from its first read to its end, as the parts that its reader sees. Written out by hand: a call costs few promises. */
export class RunningCall implements AsyncIterableIterator<ToolPart, undefined> {
  readonly #environment: CallEnvironment;
  readonly #call: ToolCall;
  readonly #outerSignal: AbortSignal;
  readonly #parts = new PartQueue();
  readonly #controller = new AbortController();
  readonly #onOuterAbort = () => this.cancel();
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
  #wanted: Map<string, (verdict: AuthorizationVerdict) => void> | undefined;
  #onEnd: (() => void)[] | undefined;

  constructor(environment: CallEnvironment, call: ToolCall, signal: AbortSignal) {
    this.#environment = environment;
    this.#call = call;
    this.#outerSignal = signal;
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

  answer(answer: AuthorizationAnswer): void {
    const { callId, attempt } = this.#call;
    if (answer.callId !== callId || answer.attempt !== attempt) return;
    this.#settleAuthorization(answer.authorizationId, answer);
  }

  #start() {
    const { clock, timers, catalogue, gates, running, refusal } = this.#environment;
    const { tenantId, toolName, timeoutMs } = this.#call;
    this.#startedAt = clock.monotonic();
    this.#state = 'preparing';
    const closed = refusal();
    if (closed !== undefined) return this.#refuse(closed);
    if (this.#outerSignal.aborted)
      return this.#refuse(new NexusError('cancelled', `the call of ${toolName} was cancelled before it began`));
    running.add(this);
    this.#outerSignal.addEventListener('abort', this.#onOuterAbort, { once: true });
    const limitMs = Math.max(0, Math.min(timeoutMs, gates.limitsOf(toolName).timeoutMs ?? timeoutMs));
    this.#limitMs = limitMs;
    this.#cancelTimer = timers.after(limitMs, () =>
      this.#stop(new NexusError('tool_timeout', `the tool ${toolName} did not finish within ${limitMs} ms`)),
    );
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
    if (found === undefined) return this.#refuse(unknownTool(toolName, tools));
    this.#found = found;
    const { descriptor } = found;
    if (toolVersion !== undefined && toolVersion !== descriptor.version)
      return this.#refuse(
        new NexusError('conflict', `the tool ${toolName} has changed since this call was made; read its description again`),
      );
    const checked = checkArguments(this.#environment.schemas, descriptor, input);
    if (checked.type === 'error') return this.#end(failed(checked.error));
    this.#enter(found, checked.input);
  }

  /** It takes its turn among the calls of its tool. What does not get one has not begun. */
  #enter(found: CataloguedTool, input: Record<string, unknown>) {
    const { tenantId, sessionId, runId } = this.#call;
    const { signal } = this.#controller;
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
    const { tenantId, sessionId, runId, callId, attempt, idempotencyKey, traceparent, calling, resume } = this.#call;
    const { signal } = this.#controller;
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
      workspace: this.#folder?.path ?? '',
      files: this.#files(),
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
      authorize: (request) => this.#authorize(request),
    };
  }

  /** What is changed is asked about, whatever argument names it. */
  #files(): CallFiles {
    const files = this.#folder?.files;
    if (files === undefined) return noFiles;
    const require = async (action: 'file.read' | 'file.write', path: string) => {
      const verdict = await this.#authorize({ action, resource: path });
      if (!verdict.allowed) throw refusedFile(path, verdict.error);
    };
    return {
      write: async (path, ...rest) => {
        await require('file.write', path);
        return files.write(path, ...rest);
      },
      remove: async (path, signal) => {
        await require('file.write', path);
        return files.remove(path, signal);
      },
      move: async (from, to, options) => {
        // Under its new name the content may be read by whoever may not read it under this one.
        await require('file.read', from);
        await require('file.write', from);
        await require('file.write', to);
        return files.move(from, to, options);
      },
    };
  }

  async #authorize({ action, resource, context }: AuthorizationRequest): Promise<AuthorizationVerdict> {
    if (this.#controller.signal.aborted) return refusedAfterEnd;
    const authorizationId = this.#environment.nextAuthorizationId();
    this.#environment.asking.set(authorizationId, this);
    this.#wanted ??= new Map();
    const wanted = this.#wanted;
    return new Promise((resolve) => {
      wanted.set(authorizationId, resolve);
      this.#parts.push({
        type: 'authorization.wanted',
        authorizationId,
        action,
        resource,
        ...(context === undefined ? {} : { context }),
      });
    });
  }

  #settleAuthorization(authorizationId: string, verdict: AuthorizationVerdict): void {
    const resolve = this.#wanted?.get(authorizationId);
    if (resolve === undefined) return;
    this.#wanted?.delete(authorizationId);
    this.#environment.asking.delete(authorizationId);
    // What came over a wire may be anything: only a plain yes lets the tool go on.
    if (verdict.allowed !== true) resolve({ allowed: false, error: verdict.error });
    else resolve(verdict.always === true ? { allowed: true, always: true } : { allowed: true });
  }

  /** Tells the tool to stop. It may take the grace to do so; what has not begun ends at once. */
  #stop(reason: NexusError) {
    if (this.#state === 'ended' || this.#controller.signal.aborted) return;
    if (this.#state === 'waiting') return this.#abort(reason); // the queue says what it waited for
    if (this.#state !== 'calling' && this.#state !== 'keeping') return this.#refuse(reason);
    this.#cancelTimer?.();
    this.#cancelTimer = this.#environment.timers.after(this.#environment.graceMs, () => {
      // An answer that came in time is not kept from its files by what it took to come, but by what they take.
      if (this.#state === 'keeping') this.#keeping?.abort(reason);
      else this.#conclude({ type: 'silent' });
    });
    this.#abort(reason);
  }

  #abort(reason: NexusError): void {
    this.#controller.abort(reason);
    if (this.#wanted !== undefined) for (const id of [...this.#wanted.keys()]) this.#settleAuthorization(id, refusedAfterEnd);
  }

  #conclude(outcome: Outcome): void {
    if (this.#state !== 'calling' || this.#tool === undefined) return;
    const { callId } = this.#call;
    this.#crashed = outcome.type === 'threw' && !(outcome.error instanceof NexusError);
    const conclusion = conclude(this.#environment, { callId, tool: this.#tool, signal: this.#controller.signal }, outcome);
    const folder = this.#folder;
    if (folder !== undefined && conclusion.type === 'completed') {
      this.#keep(folder, conclusion);
      return;
    }
    if (outcome.type === 'silent') folder?.abandon();
    else folder?.discard();
    this.#end(conclusion);
  }

  /** The call has gone well once the files that it wrote are kept. */
  #keep(folder: CallFolder, conclusion: Extract<Conclusion, { type: 'completed' }>): void {
    this.#state = 'keeping';
    this.#keeping = new AbortController();
    const { callId, toolName } = this.#call;
    folder.keep(this.#keeping.signal).then(
      ({ note, ...files }) => {
        const output = note === '' ? conclusion.output : boundText(`${conclusion.output}\n${note}`, this.#environment.maxOutputChars);
        this.#end({ ...conclusion, output, files });
      },
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

  /** Gives up its turn, and tells what its end says of the tool. */
  #leaveGate(conclusion: Conclusion): void {
    const { signal } = this.#controller;
    const { reason } = signal;
    const tool = this.#tool;
    const cancelled = signal.aborted && !(reason instanceof NexusError && reason.code === 'tool_timeout');
    const ownMs = Math.min(
      tool?.timeoutMs ?? 0,
      this.#environment.gates.limitsOf(this.#call.toolName).timeoutMs ?? Number.POSITIVE_INFINITY,
    );
    const error = conclusion.type === 'failed' ? conclusion.error : null;
    const hadItsTime = this.#limitMs - this.#waitedMs >= ownMs / 2;
    this.#pass?.end(tool === undefined ? 'unknown' : verdictOf({ error, crashed: this.#crashed, cancelled, hadItsTime }));
  }

  #end(conclusion: Conclusion): void {
    this.#state = 'ended';
    this.#leaveGate(conclusion);
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

function needsFiles({ permissions }: Tool): boolean {
  return permissions.some((permission) => permission.startsWith('fs.') || permission.startsWith('code.'));
}

function unknownTool(name: string, { descriptors }: TenantTools): NexusError {
  const known = descriptors.map((descriptor) => descriptor.name).join(', ') || 'none';
  return new NexusError('tool_not_found', `there is no tool "${name}"; the tools are: ${known}`);
}
