import type { Message } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import type { ModelInput } from '#llm/contract';
import { ReceivedTokens } from './received.ts';

const messageLeast = new WeakMap<Message, number>();

/**
 * At least so many tokens has what a person, a tool or the model said in a message: no more than {@link ReceivedTokens} finds. What
 * a model thought is left out, as servers forget it, and so are images and names.
 */
export function leastMessageTokens(message: Message): number {
  let least = messageLeast.get(message);
  if (least === undefined) {
    const tokens = new ReceivedTokens();
    for (const part of message.content) {
      if (part.type === 'text') tokens.add(withoutBlanks(part.text));
      else if (part.type === 'tool_result') tokens.add(withoutBlanks(part.output));
    }
    least = tokens.least;
    messageLeast.set(message, least);
  }
  return least;
}

/** What follows adds to what there is at least, and would take its time. */
const maxCountedChars = 50_000;

/** Blanks may be left out of what is sent, and some servers make one of many. */
function withoutBlanks(text: string): string {
  return text.slice(0, maxCountedChars).trim().replaceAll(/\s+/gu, ' ');
}

/** Of instructions and descriptions, which come again with every request. */
const textLeast = new LRUCache<string, number>({ maxSize: 2_000_000, sizeCalculation: (_least, text) => text.length + 1 });

function leastOf(text: string): number {
  let least = textLeast.get(text);
  if (least === undefined) {
    const tokens = new ReceivedTokens();
    tokens.add(withoutBlanks(text));
    least = tokens.least;
    textLeast.set(text, least);
  }
  return least;
}

/** At least so many tokens has the input of a request: an account of less is none. Each message is measured once. */
export function leastInputTokens(request: Pick<ModelInput, 'system' | 'messages' | 'tools'>): number {
  let tokens = leastOf(request.system);
  // Every server shows a model what its tools are called and what they are for, whatever it makes of their schemas.
  for (const { name, description } of request.tools) tokens += leastOf(name) + leastOf(description);
  for (const message of request.messages) tokens += leastMessageTokens(message);
  return tokens;
}
