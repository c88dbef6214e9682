import type { Message } from '@nexus-agent/protocol';
import { estimateInputTokens, type ModelRequest } from '#llm';
import type { Summary } from '#runs/journal';

export interface CompactionSettings {
  /** Most tokens of a summary. */
  readonly summaryTokens: number;
  /** Part of what a request may have that is left, instructions and summary included, when old turns were summarised. */
  readonly keepShare: number;
}

const instructions = `You compress conversations between a user, an assistant and its tools so that the assistant can go on with less text.
Write down, in plain sentences: what the user wants (the newest request word for word), what was decided and why, every fact, number, name,
file and identifier that may still matter, what each tool call found, and what is left to do. Add nothing. Leave out greetings.`;

export type CompactionPlan =
  | { readonly type: 'none' }
  | {
      readonly type: 'summarise';
      readonly request: Pick<ModelRequest, 'system' | 'messages' | 'tools' | 'maxOutputTokens'>;
      readonly replaces: number;
    }
  /** Nothing can be left out: a single turn is larger than the model. */
  | { readonly type: 'impossible' };

/**
 * Decides whether old turns must be summarised before a call, and which. Turns are only split where no tool result is
 * parted from its call; the newest turns stay as they are; one call never reads more than the model takes, so a very
 * long history is summarised in several calls, oldest first.
 *
 * @param limitTokens most input tokens that a request may have
 * @param overheadTokens tokens of instructions and tools, which every request carries
 */
export function planCompaction(
  all: readonly Message[],
  summary: Summary | null,
  limitTokens: number,
  overheadTokens: number,
  { summaryTokens, keepShare }: CompactionSettings,
): CompactionPlan {
  const start = summary?.replaces ?? 0;
  const size = (messages: readonly Message[]) => estimateInputTokens({ system: '', messages, tools: [] });
  const sizes = all.map((message) => size([message]));
  const sum = (from: number, to: number) => sizes.slice(from, to).reduce((total, tokens) => total + tokens, 0);
  const summarySize = summary === null ? 0 : size([textMessage(summary.text)]);
  if (overheadTokens + summarySize + sum(start, all.length) <= limitTokens) return { type: 'none' };

  const boundaries: number[] = [];
  for (let index = start + 1; index < all.length; index++) if (all[index]?.role !== 'tool') boundaries.push(index);
  const readable = limitTokens - size([textMessage(instructions)]) - summaryTokens - summarySize;
  const fitting = boundaries.filter((index) => sum(start, index) <= readable);
  const enough = fitting.find((index) => overheadTokens + summaryTokens + sum(index, all.length) <= limitTokens * keepShare);
  const replaces = enough ?? fitting.at(-1);
  if (replaces === undefined) return { type: 'impossible' };
  const text = [
    ...(summary === null ? [] : [`Summary of what came before:\n${summary.text}`]),
    ...all.slice(start, replaces).map(render),
  ].join('\n\n');
  return {
    type: 'summarise',
    replaces,
    request: { system: instructions, messages: [textMessage(text)], tools: [], maxOutputTokens: summaryTokens },
  };
}

function textMessage(text: string): Message {
  return { role: 'user', content: [{ type: 'text', text }] };
}

function render(message: Message): string {
  switch (message.role) {
    case 'user':
      return `User: ${message.content.map((part) => (part.type === 'text' ? part.text : '[image]')).join('\n')}`;
    case 'assistant':
      return `Assistant: ${message.content
        .map((part) => {
          if (part.type === 'text') return part.text;
          return part.type === 'tool_call' ? `[calls ${part.name} with ${JSON.stringify(part.input)}]` : '';
        })
        .join('\n')}`;
    case 'tool':
      return message.content.map((part) => `Tool ${part.name}${part.isError ? ' (failed)' : ''}: ${part.output}`).join('\n');
  }
}
