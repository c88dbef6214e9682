import { z } from 'zod';
import { type Clock, isObject, NexusError, type Timers } from '#core';
import type { ResumedCall, Tool, ToolContext, ToolResult } from '#tools/contract';
import type { ProgramStates } from '../program-states.ts';
import { tooMany } from './connection.ts';
import { Conversation, maxRequests, type Talk, type TalkOptions } from './conversation.ts';
import type { HeldCalls } from './held-calls.ts';
import { mcpResult } from './result-text.ts';
import { type AnswerToServer, answerTo, type RequestedCall, WantedAnswer, type WantedRules, wantedOf } from './wanted.ts';

export interface AskingCallParts {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after'>;
  readonly held: HeldCalls;
  /** What is kept of calls that wait. */
  readonly states: ProgramStates;
}

export interface AskingCall {
  readonly tool: Pick<Tool, 'name' | 'effects'>;
  readonly rules: WantedRules;
  readonly timeoutMs: number;
  readonly talk: Talk;
}

/** So often may a call end with the wish for more, or be suspended. */
const maxRounds = 10;
const maxRequestStateChars = 65_536;
const maxStateChars = 200_000;

/** Where a call goes on. `held`: the process that asked holds the conversation; `repeat`: the call is made again, with answers. */
const KeptCall = z.object({
  kind: z.enum(['held', 'repeat']),
  /** Which attempt was suspended. */
  attempt: z.int(),
  rounds: z.int(),
  nextId: z.int(),
  leftMs: z.number(),
  requestState: z.string().optional(),
  wanted: z.array(WantedAnswer),
});
type KeptCall = z.infer<typeof KeptCall>;

/**
 * A call of a tool whose server may ask in the midst of it. What it asks for is wanted of the engine: the attempt ends suspended, and
 * another one goes on with the answers. While somebody is asked the time of the call stands still.
 */
export async function callThatAsks(parts: AskingCallParts, call: AskingCall, context: ToolContext): Promise<ToolResult> {
  const kept = context.resume === undefined ? null : await readKept(parts.states, context, context.resume.state);
  const attempt = new AskingAttempt(parts, call, context, kept ?? { rounds: 0, nextId: 1, leftMs: call.timeoutMs });
  return attempt.run(kept === null ? attempt.begin() : attempt.goOn(kept, context.resume?.results ?? []));
}

class AskingAttempt {
  readonly #parts: AskingCallParts;
  readonly #call: AskingCall;
  readonly #context: ToolContext;
  readonly #startedAt: number;
  readonly #limitMs: number;
  #rounds: number;
  #nextId: number;

  constructor(parts: AskingCallParts, call: AskingCall, context: ToolContext, at: Pick<KeptCall, 'rounds' | 'nextId' | 'leftMs'>) {
    this.#parts = parts;
    this.#call = call;
    this.#context = context;
    this.#startedAt = parts.clock.monotonic();
    this.#limitMs = at.leftMs;
    this.#rounds = at.rounds;
    this.#nextId = at.nextId;
  }

  begin(again?: TalkOptions['again']): Conversation {
    return new Conversation(this.#parts.timers, this.#call.rules, this.#call.talk, again);
  }

  /** Throws `tool_outcome_unknown` where the conversation is lost and the call may not be repeated. */
  goOn(kept: KeptCall, results: ResumedCall['results']): Conversation {
    const answers = kept.wanted.map(
      (wanted) =>
        [
          wanted,
          answerTo(
            wanted,
            results.find(({ id }) => id === wanted.id),
          ),
        ] as const,
    );
    if (kept.kind === 'repeat') return this.begin(responsesOf(kept, answers));
    const { tool } = this.#call;
    // A person who said `retry` after it was lost wants it to begin anew.
    const isRetried = this.#context.attempt > kept.attempt + 1;
    const conversation = isRetried ? undefined : this.#parts.held.take(this.#context);
    if (conversation !== undefined) {
      conversation.answer(answers.map(([, answer]) => answer));
      return conversation;
    }
    if (!isRetried && tool.effects === 'once')
      throw unknownOutcome(tool, 'the conversation in which the MCP server asked is lost, with the process that held it or by its time');
    return this.begin();
  }

  async run(first: Conversation): Promise<ToolResult> {
    const { signal } = this.#context;
    const late = new AbortController();
    const error = new NexusError('tool_timeout', `the MCP server did not finish within the ${this.#call.timeoutMs} ms of a call`);
    const cancel = this.#parts.timers.after(this.#limitMs, () => late.abort(error));
    const within = AbortSignal.any([signal, late.signal]);
    try {
      return await this.#follow(first, within);
    } catch (thrown) {
      if (!late.signal.aborted || signal.aborted) throw thrown;
      throw this.#call.tool.effects === 'once' ? unknownOutcome(this.#call.tool, error.message) : error;
    } finally {
      cancel();
    }
  }

  async #follow(first: Conversation, within: AbortSignal): Promise<ToolResult> {
    for (let conversation = first; ; ) {
      conversation.onProgress = this.#context.onOutput;
      const next = await conversation.next(within);
      conversation.onProgress = () => undefined;
      if (next.type === 'asked') {
        const suspended = await this.#hold(conversation, next.wanted);
        if (suspended !== null) return suspended;
        continue;
      }
      const wish = wishIn(next.result);
      if (wish === null) return mcpResult(next.result);
      this.#countRound();
      if (wish.asked.length > 0) return this.#suspendForAgain(wish);
      conversation = this.begin({ inputResponses: {}, ...(wish.requestState === undefined ? {} : { requestState: wish.requestState }) });
    }
  }

  /** Null: no more can be held, and the server was told so. */
  async #hold(conversation: Conversation, wanted: readonly RequestedCall[]): Promise<ToolResult | null> {
    const { held } = this.#parts;
    const { tenantId, calling } = this.#context;
    const place = this.#rounds >= maxRounds ? null : held.reserve(tenantId);
    if (place === null) {
      const message = this.#rounds >= maxRounds ? `a call may ask in ${maxRounds} rounds` : 'too many calls wait for people here';
      conversation.answer(wanted.map(() => ({ type: 'refusal', message })));
      return null;
    }
    this.#countRound();
    try {
      const suspended = await this.#suspend(
        'held',
        wanted.map((each, index) => [String(index), each]),
      );
      this.#context.signal.throwIfAborted();
      place.hold(this.#context, conversation, calling?.waitMs ?? 0);
      return suspended;
    } catch (error) {
      conversation.abort(new NexusError('cancelled', 'the call could not wait'));
      throw error;
    } finally {
      place.giveBack();
    }
  }

  async #suspendForAgain({ asked, requestState }: Wish): Promise<ToolResult> {
    const { rules } = this.#call;
    if (this.#nextId - 1 + asked.length > maxRequests) throw tooMany(`asks more than ${maxRequests} times in a call`);
    const wanted = asked.map(([key, request]) => {
      try {
        return [key, wantedOf(request, rules)] as const;
      } catch (error) {
        if (!(error instanceof NexusError)) throw error;
        throw new NexusError('tool_failed', `the MCP server ${rules.server} asks for what it cannot have: ${error.message}`);
      }
    });
    return this.#suspend('repeat', wanted, requestState);
  }

  async #suspend(
    kind: KeptCall['kind'],
    wanted: readonly (readonly [key: string, wanted: RequestedCall])[],
    requestState?: string,
  ): Promise<ToolResult> {
    const { tenantId, attempt, calling, signal } = this.#context;
    const calls = wanted.map(([key, { call, answer }]) => ({ id: this.#nextId++, key, call, answer }));
    const leftMs = Math.max(1_000, this.#limitMs - (this.#parts.clock.monotonic() - this.#startedAt));
    const kept: KeptCall = {
      ...{ kind, attempt, rounds: this.#rounds, nextId: this.#nextId, leftMs },
      ...(requestState === undefined ? {} : { requestState }),
      wanted: calls.map(({ id, key, answer }) => ({ id, key, ...answer })),
    };
    const bytes = Buffer.from(JSON.stringify(kept));
    const state = await this.#parts.states.keep(tenantId, bytes, calling?.waitMs ?? 0, signal);
    return { type: 'suspended', state, calls: calls.map(({ id, call }) => ({ id, ...call })), fuelUsed: 0, printed: '' };
  }

  #countRound(): void {
    this.#rounds += 1;
    if (this.#rounds > maxRounds)
      throw new NexusError('limit_exceeded', `the MCP server asks for more again and again: a call has ${maxRounds} rounds`, {
        details: { limit: 'rounds' },
      });
  }
}

/** What a server of the later revision wants before it goes on. */
interface Wish {
  readonly asked: readonly (readonly [key: string, request: { readonly method: string; readonly params: unknown }])[];
  readonly requestState: string | undefined;
}

const maxAskedAtOnce = 5;

/** Null for a result. */
function wishIn(result: unknown): Wish | null {
  if (!isObject(result) || result.resultType !== 'input_required') return null;
  const { inputRequests = {}, requestState } = result;
  if (requestState !== undefined && (typeof requestState !== 'string' || requestState.length > maxRequestStateChars))
    throw tooMany(`gives more than ${maxRequestStateChars} characters to go on from`);
  const asked = Object.entries(isObject(inputRequests) ? inputRequests : {});
  if (asked.length > maxAskedAtOnce) throw tooMany(`asks for more than ${maxAskedAtOnce} things at a time`);
  if (asked.some(([key]) => key.length > 200)) throw tooMany('gives a request a name of more than 200 characters');
  return {
    requestState,
    asked: asked.map(([key, request]) => {
      if (!isObject(request) || typeof request.method !== 'string')
        throw new NexusError('tool_failed', 'the MCP server asks for nothing known');
      return [key, { method: request.method, params: request.params }];
    }),
  };
}

/** Throws `tool_failed` where something was not answered that only an answer could be given to. */
function responsesOf(
  { requestState }: KeptCall,
  answers: readonly (readonly [WantedAnswer, AnswerToServer])[],
): NonNullable<TalkOptions['again']> {
  const entries = answers.map(([{ key }, answer]) => {
    if (answer.type === 'refusal') throw new NexusError('tool_failed', `the MCP server cannot go on: ${answer.message}`);
    return [key, answer.value] as const;
  });
  return { inputResponses: Object.fromEntries(entries), ...(requestState === undefined ? {} : { requestState }) };
}

function unknownOutcome({ name }: { readonly name: string }, message: string): NexusError {
  return new NexusError('tool_outcome_unknown', `${message}; whether ${name} took effect is not known`, {
    details: { cause: 'tool_failed' },
  });
}

/** Throws `conflict` where it is gone. */
async function readKept(states: ProgramStates, { tenantId, signal }: ToolContext, state: ResumedCall['state']): Promise<KeptCall> {
  if (state.bytes > maxStateChars * 3) throw new NexusError('conflict', 'what is kept of the call is too long to go on from');
  try {
    const bytes = await states.read(tenantId, state, signal);
    return KeptCall.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'not_found') throw error;
    throw new NexusError('conflict', 'the call waited for an answer for longer than it is kept, and cannot go on', { cause: error });
  }
}
