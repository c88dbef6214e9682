import type { Message } from '@nexus-agent/protocol';
import { isBlank } from '#core';

/** Servers take no assistant that says nothing: one that only thought, or wrote blanks, is told to have said so. */
export function withSomethingSaid(message: Message): Message {
  if (message.role !== 'assistant') return message;
  const says = message.content.some((part) => part.type === 'tool_call' || (part.type === 'text' && !isBlank(part.text)));
  if (says) return message;
  const kept = message.content.filter((part) => part.type !== 'text');
  return { role: 'assistant', content: [...kept, { type: 'text', text: '(I ended this turn without a word.)' }] };
}
