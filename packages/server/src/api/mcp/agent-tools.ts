import type { CallToolResult, ElicitRequestFormParams, InputRequests, InputRequiredResult, Tool } from '@modelcontextprotocol/server';
import { type Agent, type Approval, dictionary, isTerminal, type Run } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type ApiServices, localOperator } from '#api/contract';
import { NexusError, parseRequest } from '#core';
import { answerOf, canBeAsked, questionOf } from './questions.ts';
import { errorResult, textResult } from './results.ts';
import { stepOf } from './run-progress.ts';
import type { Sdk } from './sdk.ts';
import type { McpCall } from './surface.ts';

/** An agent as a tool: text goes in, its answer comes out. */
export function agentTool(name: string, { name: agent, definition: { description } }: Agent): Tool {
  return {
    name,
    title: `Agent ${agent}`,
    description: `${description || `The agent ${agent}.`} Give it a task in words; it works in steps of its own and answers in words.`,
    inputSchema: {
      type: 'object',
      properties: {
        input: { type: 'string', minLength: 1, maxLength: 1_000_000, description: 'The task' },
        sessionId: { type: 'string', description: 'Go on in this session, which an earlier answer named; without it a new one begins' },
      },
      required: ['input'],
      additionalProperties: false,
    },
    annotations: { readOnlyHint: false, openWorldHint: true },
  };
}

const AgentInput = z.strictObject({ input: z.string().min(1).max(1_000_000), sessionId: z.string().max(100).optional() });

/** What a client brings back with its answers. Whoever holds it gets nothing by it: every name in it is looked up as the caller's own. */
const State = z.strictObject({ runId: z.string().max(100), seq: z.int().nonnegative() });

export interface AgentTools {
  /**
   * Runs the agent and gives its answer. While it works the client is told of its steps; a client that cancels, or leaves where that
   * counts as cancelling, cancels the run. What waits for a person is put to the client, if it takes questions and its key may answer
   * them; else the result says where it waits, and the run goes on waiting.
   */
  call(call: McpCall, agent: string, args: unknown): Promise<CallToolResult | InputRequiredResult>;
}

interface AgentToolsParts {
  readonly services: Pick<ApiServices, 'runs' | 'approvals' | 'keys'>;
  readonly sdk: Sdk;
  /** A client that has not answered a question for so long is told where to answer instead. The approval has a deadline of its own. */
  readonly questionMs: number;
}

export function createAgentTools({ services: { runs, approvals, keys }, sdk, questionMs }: AgentToolsParts): AgentTools {
  /** Where the call is: at the run that it began, or at the one that it was asked about. */
  async function placeOf(call: McpCall, agent: string, args: unknown): Promise<{ run: Run; seq: number; left: readonly string[] }> {
    const { principal } = call.caller;
    const state = call.context.mcpReq.requestState();
    if (state === undefined) {
      const { input, sessionId } = parseRequest(AgentInput, args ?? {}, 'body');
      const request = { agent, input, ...(sessionId === undefined ? {} : { sessionId }) };
      const { run } = await runs.start(principal, request, { signal: call.signal });
      return { run, seq: 0, left: [] };
    }
    const { runId, seq } = parseState(state);
    const run = await runs.get(principal, runId);
    if (run.agent !== agent) throw new NexusError('invalid_request', `requestState: the run ${runId} is not one of agent ${agent}`);
    return { run, seq, left: await answerAll(call, run, call.context.mcpReq.inputResponses ?? {}) };
  }

  /** Passes on what the person said of what the run waits for. Gives why each that still waits does. */
  async function answerAll({ caller, client }: McpCall, run: Run, answers: Readonly<Record<string, unknown>>): Promise<readonly string[]> {
    const left: string[] = [];
    for (const approval of await waitingOf(caller.principal, run)) {
      const answered = sdk.inputResponse({ ...answers }, approval.id);
      const answer = answered.kind === 'elicit' && canBeAsked(caller.principal, client) ? answerOf(approval, answered) : null;
      if (answer === null) left.push(`${approval.id} was left as it is`);
      else
        await approvals
          .answer(caller.principal, approval.id, answer)
          .catch((error: unknown) => left.push(`${approval.id}: ${failureText(error)}`));
    }
    return left;
  }

  /** What the run waits for of people, itself or by its sub-agents: nobody else hears of what those ask. */
  async function waitingOf(principal: McpCall['caller']['principal'], { waitingFor }: Run): Promise<Approval[]> {
    const own = await Promise.all((waitingFor?.approvals ?? []).map((id) => approvals.get(principal, id)));
    const below = (waitingFor?.childRuns ?? []).map(async (id) => waitingOf(principal, await runs.get(principal, id)));
    return [...own.filter(({ status }) => status === 'pending'), ...(await Promise.all(below)).flat()];
  }

  /** Follows the run until it ends, or goes no further by itself, or a sub-agent that it waits for wants a person: gives how far it is. */
  async function follow(call: McpCall, run: Run, from: number, signal: AbortSignal, isTold: boolean): Promise<number> {
    const leave = new AbortController();
    const either = AbortSignal.any([signal, leave.signal]);
    const own = followOne(call, run.id, from, either, isTold);
    const below = (run.waitingFor?.childRuns ?? []).map(async (id) => ((await wantsPerson(call, id, either)) ? from : own));
    try {
      await Promise.race([own, ...below]);
    } finally {
      leave.abort();
      await Promise.allSettled([own, ...below]);
    }
    return own;
  }

  /** Resolves once a person is wanted, or the run has ended and nobody will be. */
  async function wantsPerson(call: McpCall, runId: string, signal: AbortSignal): Promise<boolean> {
    const { principal } = call.caller;
    for (let seq: number | null = null; ; ) {
      const run = await runs.get(principal, runId);
      if (signal.aborted || isTerminal(run.status)) return false;
      if ((await waitingOf(principal, run)).length > 0) return true;
      seq = await follow(call, run, seq ?? run.lastSeq, signal, false);
    }
  }

  async function followOne(call: McpCall, runId: string, from: number, signal: AbortSignal, isTold: boolean): Promise<number> {
    const { principal } = call.caller;
    let seq = from;
    for await (const frames of runs.follow(principal, runId, { seq, offset: 0 }, { signal })) {
      if (principal !== localOperator && !(await keys.stillStands(principal).catch(() => true)))
        throw new NexusError('unauthenticated', 'the API key was revoked or has expired');
      for (const frame of frames) {
        const step = stepOf(frame);
        if (step === null) continue;
        seq = step.seq;
        if (isTold && step.message !== null) call.progress({ progress: seq, message: step.message });
        if (step.pauses !== null) return seq;
      }
    }
    return seq;
  }

  /** The client wants no more of the run. At shutdown nobody said so: it goes on elsewhere, or later. */
  async function cancelled(call: McpCall, runId: string): Promise<void> {
    if (!call.isClosing()) await runs.cancel(call.caller.principal, runId, 'cancelled by the MCP client');
  }

  async function outcomeOf(call: McpCall, { run, seq: from, left }: Awaited<ReturnType<typeof placeOf>>) {
    const { principal } = call.caller;
    for (let seq = from, known = run, unanswered = left; ; ) {
      if (isTerminal(known.status)) return ended(known);
      const waiting = await waitingOf(principal, known);
      if (waiting.length === 0) seq = await follow(call, known, seq, call.signal, true);
      else {
        const forms = canBeAsked(principal, call.client) && unanswered.length === 0 ? formsOf(waiting) : null;
        if (forms === null) return waitsElsewhere(known, waiting, unanswered);
        if (call.context.mcpReq.envelope !== undefined) return askedLater(run, seq, forms);
        unanswered = await answerAll(call, known, await askedNow(call, forms));
      }
      if (call.signal.aborted) throw new NexusError('cancelled', 'the call was cancelled');
      known = await runs.get(principal, run.id);
    }
  }

  /** As revision 2026-07-28 has it: the client brings its answers with another request, perhaps to another node. */
  function askedLater({ id: runId }: Run, seq: number, forms: Forms): InputRequiredResult {
    const inputRequests: InputRequests = dictionary(
      Object.fromEntries(Object.entries(forms).map(([id, form]) => [id, sdk.inputRequired.elicit(form)])),
    );
    return sdk.inputRequired({ inputRequests, requestState: JSON.stringify({ runId, seq }) });
  }

  /** As it was before: within the call, which the client may cancel meanwhile. What is not answered is missing. */
  async function askedNow({ context, signal }: McpCall, forms: Forms): Promise<Record<string, unknown>> {
    const asked = Object.entries(forms).map(async ([id, form]) => {
      // On the stream of the call: a client need not have another one open.
      const how = { signal, timeout: questionMs, relatedRequestId: context.mcpReq.id };
      const answer = await context.mcpReq.elicitInput(form, how).catch(() => null);
      return [id, answer] as const;
    });
    return Object.fromEntries((await Promise.all(asked)).filter(([, answer]) => answer !== null));
  }

  return {
    async call(call, agent, args) {
      const place = await placeOf(call, agent, args);
      try {
        return await outcomeOf(call, place);
      } catch (error) {
        if (call.signal.aborted) await cancelled(call, place.run.id);
        throw error;
      }
    },
  };
}

type Forms = Readonly<Record<string, ElicitRequestFormParams>>;

/** Null where one of them is none that a form can show. */
function formsOf(waiting: readonly Approval[]): Forms | null {
  const forms = waiting.map((approval) => [approval.id, questionOf(approval)] as const);
  if (forms.some(([, form]) => form === null)) return null;
  return Object.fromEntries(forms.flatMap(([id, form]) => (form === null ? [] : [[id, form]])));
}

function ended(run: Run): CallToolResult {
  const facts = factsOfRun(run);
  if (run.status === 'completed') return { ...textResult(run.output ?? '', facts), structuredContent: facts };
  if (run.status === 'failed' && run.error !== undefined) return errorResult(run.error, facts);
  return errorResult({ code: 'cancelled', message: `run ${run.id} was cancelled`, retryable: false }, facts);
}

function factsOfRun({ id, sessionId, status, totals }: Run) {
  return { runId: id, sessionId, status, costMicroUsd: totals.costMicroUsd };
}

/** What is left to be done, for whoever reads the result: the run is not lost. */
function waitsElsewhere(run: Run, waiting: readonly Approval[], left: readonly string[]): CallToolResult {
  const lines = waiting.map(
    ({ id, toolName, kind, deadlineAt }) =>
      `- ${id} (${kind}, ${toolName}), until ${deadlineAt}: nexus approvals approve ${id}, or POST /v1/approvals/${id}`,
  );
  const why = left.length === 0 ? '' : `\n${left.join('\n')}`;
  const text = `Run ${run.id} waits for a person and goes on once they have answered:\n${lines.join('\n')}${why}\nIts answer is then at GET /v1/runs/${run.id}, and among the messages nexus://sessions/${run.sessionId}/messages.`;
  const facts = { ...factsOfRun(run), approvals: waiting.map(({ id }) => id) };
  return { ...textResult(text, facts), structuredContent: facts };
}

function parseState(state: unknown): z.infer<typeof State> {
  let value: unknown = null;
  try {
    value = typeof state === 'string' ? JSON.parse(state) : null;
  } catch {
    // What is no JSON is no state either.
  }
  return parseRequest(State, value, 'requestState');
}

function failureText(error: unknown): string {
  if (error instanceof NexusError) return `${error.code}: ${error.message}`;
  throw error;
}
