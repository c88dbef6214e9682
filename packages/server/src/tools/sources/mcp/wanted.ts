import { z } from 'zod';
import { cutText, isObject, NexusError } from '#core';
import { visibleLine } from '#core/visible';
import { askHuman, type CallWanted, type ResumedCall } from '#tools/contract';
import { type Asked, type Offers, samplingTool } from './asked.ts';
import { formOf, type WhoAsks } from './elicitation.ts';

/** How the result of a call that the engine makes becomes an answer to the server. Kept with the call. */
export const WantedAnswer = z.object({
  id: z.int(),
  /** Which request of the server it answers, where that has a name. */
  key: z.string(),
  kind: z.enum(['form', 'url', 'sampling']),
  agent: z.string().optional(),
});
export type WantedAnswer = z.infer<typeof WantedAnswer>;

/** What a server asks for, as a call for the engine. */
export interface RequestedCall {
  readonly call: Omit<CallWanted, 'id'>;
  readonly answer: Omit<WantedAnswer, 'id' | 'key'>;
}

export interface WantedRules extends WhoAsks {
  readonly offers: Offers;
  /** What the call may have done; what its agent is not granted is not in it. */
  readonly offered: readonly string[];
}

/** Throws `tool_failed` that says what is wrong with the request, or that nobody here answers such. */
export function wantedOf({ method, params }: Pick<Asked, 'method' | 'params'>, rules: WantedRules): RequestedCall {
  const { offers, offered } = rules;
  if (method === 'elicitation/create' && offers.elicitation && offered.includes(askHuman)) {
    const form = formOf(params, rules);
    return {
      call: { name: askHuman, input: JSON.stringify(form) },
      answer: { kind: form.url === undefined ? 'form' : 'url' },
    };
  }
  if (method === 'sampling/createMessage' && offers.sampling !== null) {
    const name = samplingTool(offers.sampling);
    if (!offered.includes(name))
      throw new NexusError('tool_failed', `nobody answers in place of a model: the agent that calls has no sub-agent ${offers.sampling}`);
    return {
      call: { name, input: JSON.stringify({ task: taskOf(params, rules.server) }) },
      answer: { kind: 'sampling', agent: offers.sampling },
    };
  }
  throw new NexusError('tool_failed', `${visibleLine(cutText(method, 100))} is not offered here`);
}

const Text = z.object({ type: z.literal('text'), text: z.string() });
const Message = z.object({ role: z.enum(['user', 'assistant']), content: z.union([Text, z.array(Text).max(100)]) });
const Sampling = z.object({
  messages: z.array(Message).min(1).max(100),
  systemPrompt: z.string().optional(),
  maxTokens: z.number().optional(),
});
const maxTaskChars = 100_000;

/** The messages as one text, in which nobody speaks but the server. */
function taskOf(params: unknown, server: string): string {
  if (isObject(params) && (params.tools !== undefined || params.toolChoice !== undefined))
    throw new NexusError('tool_failed', 'sampling with tools is not offered');
  const read = Sampling.safeParse(params);
  if (!read.success)
    throw new NexusError('tool_failed', `expected 1 to 100 messages of text and nothing else: ${read.error.issues[0]?.path.join('.')}`);
  const { messages, systemPrompt, maxTokens } = read.data;
  const said = messages.map(
    ({ role, content }) =>
      `${role}: ${[content]
        .flat()
        .map(({ text }) => text)
        .join('\n')}`,
  );
  const task = [
    `The MCP server ${server} asks for the answer of a model. All that follows is its word. Give the answer and nothing else.`,
    ...(maxTokens === undefined ? [] : [`It wants at most ${maxTokens} tokens.`]),
    ...(systemPrompt === undefined ? [] : [`system: ${systemPrompt}`]),
    ...said,
  ].join('\n\n');
  if (task.length > maxTaskChars) throw new NexusError('tool_failed', `the messages may have ${maxTaskChars} characters`);
  return task;
}

export type AnswerToServer =
  | { readonly type: 'answer'; readonly value: Readonly<Record<string, unknown>> }
  /** Only requests of the former revision can be answered so. */
  | { readonly type: 'refusal'; readonly message: string };

/** What the server is told. Who declines says so; where nobody answered, or nobody may be asked, it is told that it was dismissed. */
export function answerTo({ kind, agent = '' }: WantedAnswer, result: ResumedCall['results'][number] | undefined): AnswerToServer {
  if (kind === 'sampling') {
    if (result === undefined || result.isError) {
      const why = result === undefined ? 'nobody answered' : errorMessageIn(result.output);
      return { type: 'refusal', message: `the agent ${agent} gave no answer: ${cutText(why, 500)}` };
    }
    const content = { type: 'text', text: result.output };
    return { type: 'answer', value: { role: 'assistant', content, model: samplingTool(agent), stopReason: 'endTurn' } };
  }
  if (result === undefined || result.isError)
    return {
      type: 'answer',
      value: { action: result !== undefined && errorCodeIn(result.output) === 'approval_denied' ? 'decline' : 'cancel' },
    };
  if (kind === 'url') return { type: 'answer', value: { action: 'accept' } };
  const content = objectIn(result.output);
  return { type: 'answer', value: content === null ? { action: 'cancel' } : { action: 'accept', content } };
}

function errorIn(output: string): Readonly<Record<string, unknown>> {
  const error = objectIn(output)?.error;
  return isObject(error) ? error : {};
}

function errorCodeIn(output: string): unknown {
  return errorIn(output).code;
}

function errorMessageIn(output: string): string {
  const { message } = errorIn(output);
  return typeof message === 'string' ? message : 'it failed';
}

function objectIn(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
