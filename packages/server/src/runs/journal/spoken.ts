import type { Message } from '@nexus-agent/protocol';
import { canonicalJson, cutText, isBlank } from '#core';
import type { ToolCallState } from './state.ts';

/** Servers take no assistant that says nothing: one that only thought, or wrote blanks, is told to have said so. */
export function withSomethingSaid(message: Message): Message {
  if (message.role !== 'assistant') return message;
  const says = message.content.some((part) => part.type === 'tool_call' || (part.type === 'text' && !isBlank(part.text)));
  if (says) return message;
  const kept = message.content.filter((part) => part.type !== 'text');
  return { role: 'assistant', content: [...kept, { type: 'text', text: '(I ended this turn without a word.)' }] };
}

const maxArgumentChars = 2_000;

/** What a model must know of a call that a person changed: it ran with other arguments than the model gave. Null for any other. */
export function changedArguments({ input, attempt }: ToolCallState): string | null {
  if (attempt === null || canonicalJson(attempt.input) === canonicalJson(input)) return null;
  const ran = JSON.stringify(attempt.input);
  const shown = ran.length > maxArgumentChars ? `${cutText(ran, maxArgumentChars)}…` : ran;
  return `(A person changed the arguments of this call before allowing it. It ran with: ${shown})`;
}
