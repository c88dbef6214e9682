import type { Message } from '@nexus-agent/protocol';

/** Notes in the words of the product, by what they say. */
const notes: readonly (readonly [RegExp, string])[] = [
  [/^\(This turn failed/, '(failed)'],
  [/^\(This turn was cancelled/, '(cancelled)'],
  [/waits for another agent/, '(waits for an agent)'],
  [/waits for a person/, '(waits for a person)'],
  [/still being worked on\.\)/, '(goes on)'],
  [/not been begun/, '(not begun)'],
  [/^Cut off when the turn/, 'unknown'],
  [/^Not run: the turn/, 'not run'],
  [/^Not run yet: still waiting|^Still waiting/, 'waits'],
  [/^Still running|^Still being worked/, 'running'],
  [/^Not run yet\.$/, 'not yet'],
];
const inShort = (text: string) => notes.find(([words]) => words.test(text))?.[1] ?? text;

/** Messages as the product shows them, told as `turnOf` of the model tells them. */
export function shortly(messages: readonly Message[]): readonly string[] {
  return messages.map((message) =>
    message.role === 'tool'
      ? `tool: ${message.content.map(({ output }) => inShort(output)).join(', ')}`
      : `${message.role}: ${textOf(message.content)}`,
  );
}

function textOf(content: readonly { readonly type: string }[]): string {
  return content.map((part) => ('text' in part && typeof part.text === 'string' ? inShort(part.text) : part.type)).join(' ');
}
