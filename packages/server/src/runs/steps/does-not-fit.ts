import type { ErrorInfo, Message } from '@nexus-agent/protocol';
import type { CompactionPlan } from './compaction.ts';
import type { RunContext } from './context.ts';
import { charsWithin } from './shorten.ts';

/** A model call that cannot be made, whatever is left out of the conversation. Nothing was sent, and nothing is to be paid. */
export interface Impossible {
  readonly type: 'impossible';
  readonly error: ErrorInfo;
  readonly decision: null;
}

export function impossible(error: ErrorInfo): Impossible {
  return { type: 'impossible', decision: null, error };
}

export function instructionsTooLong({ agent, tools, targets }: RunContext, contextTokens: number, overheadTokens: number): ErrorInfo {
  const model = modelNameOf(targets);
  const message = `${model} takes about ${contextTokens} tokens; the instructions of agent ${agent.name} and its ${tools.length} tools need about ${overheadTokens} of them, and an answer up to ${answerTokens(agent, contextTokens)}, which leaves no room for a message. Give the agent fewer tools, shorter instructions or a smaller maxOutputTokens, or a model that takes more; if this one does, state its contextTokens in the configuration`;
  return overflow(message, { contextTokens, inputTokens: overheadTokens, fitsTokens: 0 });
}

/** Says what would fit: how many tokens, and how many characters of this very text. */
export function newestTooLong(
  { agent, targets }: RunContext,
  contextTokens: number,
  overheadTokens: number,
  messages: readonly Message[],
  { neededTokens, leftTokens }: Extract<CompactionPlan, { type: 'impossible' }>,
): ErrorInfo {
  const newest = messages.at(-1);
  const text = newest?.role === 'user' ? newest.content.map((part) => (part.type === 'text' ? part.text : '')).join('\n') : '';
  const images = newest?.role === 'user' ? newest.content.filter((part) => part.type === 'image').length : 0;
  const fitsTokens = Math.max(0, leftTokens - messageTokens);
  const fitsCharacters = charsWithin(text, fitsTokens);
  const answer = answerTokens(agent, contextTokens);
  const model = modelNameOf(targets);
  const has = `${model} takes about ${contextTokens} tokens, of which about ${fitsTokens} are left for it beside the instructions and tools (${overheadTokens}) and the answer (${answer})`;
  const what =
    newest?.role !== 'user'
      ? `the newest calls and their results need about ${neededTokens} tokens, also when they are cut`
      : `the message needs about ${neededTokens} tokens${images > 0 ? ` with its ${images === 1 ? 'image' : `${images} images`}` : ''}`;
  const wayOut =
    newest?.role === 'user'
      ? `${images > 0 ? '' : `about ${fitsCharacters} of its ${text.length} characters would fit. `}Send less at a time, put the text into a file of the session for the agent to read in parts, or choose a model that takes more`
      : 'Choose a model that takes more';
  const details = {
    contextTokens,
    inputTokens: overheadTokens + neededTokens,
    fitsTokens,
    ...(text === '' || images > 0 ? {} : { fitsCharacters }),
  };
  return overflow(`${what}; ${has}: ${wayOut}`, details);
}

/** What a message has around its text. */
const messageTokens = 32;

function answerTokens({ maxOutputTokens }: RunContext['agent'], contextTokens: number): number {
  return Math.min(maxOutputTokens, Math.floor(contextTokens / 8));
}

function modelNameOf([target]: RunContext['targets']): string {
  return target === undefined ? 'the model' : `${target.provider}/${target.model}`;
}

function overflow(message: string, details: Record<string, number>): ErrorInfo {
  return { code: 'context_overflow', message, retryable: false, details };
}
