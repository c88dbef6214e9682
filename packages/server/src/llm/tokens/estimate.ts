import type { AssistantPart, Message } from '@nexus-agent/protocol';
import type { ModelInput } from '#llm/contract';

/**
 * A generous estimate of token counts without a tokenizer. English prose has about 4 bytes per token, code 3, and tokenizers
 * merge runs of letters; so small ASCII letters and spaces count half a token each, every other ASCII character one, also a
 * letter after a digit, and other characters one per 2-byte, two per 3-byte and three per 4-byte sequence. That is about twice
 * the real count for prose, and not below it for digits, hex, base64 and ids.
 * It is no bound: text that a tokenizer cannot merge, such as random letters or a rare script, may have more tokens.
 */
export function estimateTextTokens(text: string): number {
  return Math.ceil(halfTokens(text) / 2);
}

/** Providers charge images by size, most of them less than this after their own scaling. */
const imageTokens = 5_000;
const messageTokens = 8;
const toolTokens = 16;
/** Providers add instructions of their own when tools or a schema are in the request (some 700 tokens). */
const toolsPreambleTokens = 800;
const schemaPreambleTokens = 300;
const requestTokens = 16;

function halfTokens(text: string): number {
  let halves = 0;
  let afterDigit = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x80) {
      const merges = code === 32 || (code >= 97 && code <= 122 && !afterDigit);
      halves += merges ? 1 : 2;
      afterDigit = code >= 48 && code <= 57;
    } else if (code < 0x800) halves += 2;
    else if (code >= 0xd800 && code <= 0xdfff)
      halves += 3; // each half of a surrogate pair
    else halves += 4;
  }
  return halves;
}

// A conversation grows by a message per turn and its messages never change: each is counted once.
const messageCounts = new WeakMap<Message, number>();
const objectCounts = new WeakMap<object, number>();

/** Estimate, as generous as {@link estimateTextTokens}, of what a message adds to a request. Each is counted once. */
export function estimateMessageTokens(message: Message): number {
  const known = messageCounts.get(message);
  if (known !== undefined) return known;
  let tokens = messageTokens;
  for (const part of message.content) {
    switch (part.type) {
      case 'text':
        tokens += estimateTextTokens(part.text);
        break;
      case 'image':
        tokens += imageTokens;
        break;
      case 'tool_result':
        tokens += toolTokens + estimateTextTokens(part.output);
        break;
      default:
        tokens += toolTokens + estimatePartTokens(part);
    }
  }
  messageCounts.set(message, tokens);
  return tokens;
}

/** Estimate, as generous as {@link estimateTextTokens}, of the output tokens that a part of an answer stands for. */
function estimatePartTokens(part: AssistantPart): number {
  switch (part.type) {
    case 'text':
      return estimateTextTokens(part.text);
    case 'reasoning':
      return estimateTextTokens(part.text) + (part.signature === undefined ? 0 : Math.ceil(part.signature.length / 2));
    case 'tool_call':
      return estimateTextTokens(part.name) + estimateTextTokens(part.invalidInput ?? JSON.stringify(part.input) ?? '');
    default:
      return part satisfies never;
  }
}

function countObject(value: object): number {
  const known = objectCounts.get(value);
  if (known !== undefined) return known;
  const tokens = estimateTextTokens(JSON.stringify(value));
  objectCounts.set(value, tokens);
  return tokens;
}

/** Estimate, as generous as {@link estimateTextTokens}, of the input tokens of a request. An image counts the same whatever its size. */
export function estimateInputTokens(request: ModelInput): number {
  let tokens = requestTokens + estimateTextTokens(request.system);
  for (const message of request.messages) tokens += estimateMessageTokens(message);
  if (request.tools.length > 0) tokens += toolsPreambleTokens;
  for (const tool of request.tools) {
    tokens += toolTokens + estimateTextTokens(tool.name) + estimateTextTokens(tool.description) + countObject(tool.inputSchema);
  }
  if (request.outputSchema !== undefined) tokens += schemaPreambleTokens + countObject(request.outputSchema);
  return tokens;
}
