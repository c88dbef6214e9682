import type { Message } from '@nexus-agent/protocol';
import type { ModelInput, ModelTarget } from '#llm/contract';

/** What a request is sent to, as far as its tokens depend on it. */
export type BoundTarget = Pick<ModelTarget, 'imageTokens' | 'templateTokens'>;

/**
 * Marks and roles that a chat template writes around a message or a part of one, up to a sentence where an adapter states in
 * words what the format has no place for.
 */
const messageTokens = 16;
const partTokens = 32;
/** What servers say of tools before the first of them, the longest of those that are published some 700. */
const toolsPreambleTokens = 1_000;
const toolTokens = 64;
/** The sentences that go with a schema where it is stated in the instructions. */
const schemaPreambleTokens = 500;

/**
 * At most so many tokens has a text for any model: vocabularies of bytes (OpenAI, Llama 3, Qwen, Mistral, DeepSeek) have no token
 * of less than a byte, and those of characters (Llama 2, Gemma) fall back to bytes. Some put the text into a compatible form first,
 * in which one character may become eighteen.
 */
function boundTextTokens(text: string): number {
  const bytes = Buffer.byteLength(text);
  return bytes === text.length ? bytes : Math.max(bytes, compatibleBytes(text));
}

const sliceUnits = 64;

/**
 * No fewer bytes than the compatible form of a text has. Slice by slice, as many marks after one letter take time by the square of their
 * number; with marks in them they are decomposed, which only ever adds, so that marks that belong to another slice take nothing away.
 */
function compatibleBytes(text: string): number {
  let bytes = 0;
  for (let from = 0; from < text.length; ) {
    let to = Math.min(text.length, from + sliceUnits);
    const last = text.charCodeAt(to - 1);
    if (last >= 0xd800 && last < 0xdc00) to += 1; // not within a pair
    const slice = text.slice(from, to);
    bytes += Buffer.byteLength(slice.normalize(/\p{M}/u.test(slice) ? 'NFKD' : 'NFKC'));
    from = to;
  }
  return bytes;
}

/** The same for what templates show as JSON: on many lines, and with what is not ASCII escaped. */
export function boundJsonTokens(value: unknown): number {
  return escapedLength(JSON.stringify(value, null, 4) ?? '');
}

function escapedLength(json: string): number {
  let length = json.length;
  for (let index = 0; index < json.length; index++) if (json.charCodeAt(index) >= 0x80) length += 5;
  return length;
}

/** What a wire puts in the place of a tool that is no longer there: a name, a sentence and an empty schema. */
const withdrawnToolTokens = 192;

/** The tools that the conversation has calls of although it has none any more, by name: some wires insist on having them listed. */
export function withdrawnTools({ tools, messages }: Pick<ModelInput, 'tools' | 'messages'>): readonly string[] {
  if (tools.length > 0) return [];
  const names = messages.flatMap(({ content }) => content.flatMap((part) => (part.type === 'tool_call' ? part.name : [])));
  return [...new Set(names)].sort();
}

const messageBounds = new WeakMap<Message, { readonly tokens: number; readonly images: number }>();
const schemaBounds = new WeakMap<object, number>();

/** What a message counts for at any target, and its images, which each target counts for itself. Each is measured once. */
export function boundMessage(message: Message): { readonly tokens: number; readonly images: number } {
  let bound = messageBounds.get(message);
  if (bound === undefined) {
    let tokens = messageTokens;
    let images = 0;
    for (const part of message.content) {
      if (part.type === 'image') images += 1;
      tokens += partTokens + boundPart(part);
    }
    bound = { tokens, images };
    messageBounds.set(message, bound);
  }
  return bound;
}

function boundPart(part: Message['content'][number]): number {
  switch (part.type) {
    case 'text':
      return boundTextTokens(part.text);
    case 'image':
      return 0;
    case 'tool_result':
      return boundTextTokens(part.name) + Math.max(boundTextTokens(part.output), boundTextTokens(JSON.stringify(part.output)));
    case 'reasoning':
      return boundTextTokens(part.text) + (part.signature?.length ?? 0) + boundOpaque(part.opaque);
    case 'tool_call': {
      const input = part.invalidInput === undefined ? part.input : { invalid_json: part.invalidInput };
      return boundTextTokens(part.name) + boundJsonTokens(input) + boundOpaque(part.opaque);
    }
    default:
      return part satisfies never;
  }
}

function boundOpaque(opaque: Record<string, unknown> | undefined): number {
  return opaque === undefined ? 0 : boundJsonTokens(opaque);
}

function boundSchema(schema: object): number {
  let bound = schemaBounds.get(schema);
  if (bound === undefined) {
    bound = boundJsonTokens(schema);
    schemaBounds.set(schema, bound);
  }
  return bound;
}

/**
 * The most tokens of everything in a request but its messages (and of what a wire adds for the calls in them), whatever the model makes of it: its bytes, and what servers add. About
 * four times what prose has.
 */
export function boundFrameTokens({ templateTokens }: BoundTarget, request: ModelInput): number {
  let tokens = templateTokens + boundTextTokens(request.system);
  const withdrawn = withdrawnTools(request);
  if (request.tools.length + withdrawn.length > 0) tokens += toolsPreambleTokens;
  for (const name of withdrawn) tokens += withdrawnToolTokens + boundTextTokens(name);
  for (const { name, description, inputSchema } of request.tools) {
    tokens += toolTokens + boundTextTokens(name) + boundJsonTokens(description) + boundSchema(inputSchema);
  }
  // Some servers are told it twice: as a format, and in the instructions.
  if (request.outputSchema !== undefined) tokens += schemaPreambleTokens + 2 * boundSchema(request.outputSchema);
  return tokens;
}

/** The same of a message; each is measured once. */
export function boundMessageTokens({ imageTokens }: BoundTarget, message: Message): number {
  const { tokens, images } = boundMessage(message);
  return tokens + images * imageTokens;
}
