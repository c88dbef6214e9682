import { z } from 'zod';

/** Longest address of an image, in characters. */
const maxUrlChars = 8_000;
/** Largest base64 image that a message may carry, in characters: 5 MB, the most that every provider takes. */
const maxImageChars = 7_000_000;

export const TextPart = z.object({ type: z.literal('text'), text: z.string() });
export type TextPart = z.infer<typeof TextPart>;

/** An image by value (base64) or by https reference. The bytes go to the provider as they are. */
export const ImagePart = z.object({
  type: z.literal('image'),
  mediaType: z.enum(['image/png', 'image/jpeg', 'image/gif', 'image/webp']),
  data: z.union([
    z.object({ base64: z.string().max(maxImageChars) }),
    z.object({
      url: z
        .string()
        .max(maxUrlChars)
        .pipe(z.url({ protocol: /^https$/ })),
    }),
  ]),
});
export type ImagePart = z.infer<typeof ImagePart>;

/** The model that gave a part: what only it understands goes back to it, and to no other. */
export const GivenBy = z.object({ provider: z.string(), model: z.string() });
export type GivenBy = z.infer<typeof GivenBy>;

/**
 * What the model thought. `signature` is the provider's opaque proof and must travel back unchanged; `field` is the member of
 * the wire format that the text came in, where a format knows several. `opaque` is what else the provider gave with it and
 * wants back.
 */
export const ReasoningPart = z.object({
  type: z.literal('reasoning'),
  text: z.string(),
  signature: z.string().optional(),
  field: z.string().optional(),
  opaque: z.record(z.string(), z.unknown()).optional(),
  givenBy: GivenBy.optional(),
});
export type ReasoningPart = z.infer<typeof ReasoningPart>;

/**
 * A tool call as the model asked for it. `providerCallId` is the provider's name for it; `input` is the parsed JSON,
 * and `invalidInput` holds the raw text when it is not JSON (the call is then answered with an error result). `opaque` is
 * what else the provider gave with the call and wants back.
 */
export const ToolCallPart = z.object({
  type: z.literal('tool_call'),
  providerCallId: z.string(),
  name: z.string(),
  input: z.unknown(),
  invalidInput: z.string().optional(),
  opaque: z.record(z.string(), z.unknown()).optional(),
  givenBy: GivenBy.optional(),
});
export type ToolCallPart = z.infer<typeof ToolCallPart>;

/** Parts of an answer in order of arrival: concatenating the deltas of a stream gives exactly these texts. */
export const AssistantPart = z.discriminatedUnion('type', [TextPart, ReasoningPart, ToolCallPart]);
export type AssistantPart = z.infer<typeof AssistantPart>;

export const UserPart = z.discriminatedUnion('type', [TextPart, ImagePart]);
export type UserPart = z.infer<typeof UserPart>;

export const ToolResultPart = z.object({
  type: z.literal('tool_result'),
  providerCallId: z.string(),
  name: z.string(),
  output: z.string(),
  isError: z.boolean(),
});
export type ToolResultPart = z.infer<typeof ToolResultPart>;

export const Message = z.discriminatedUnion('role', [
  z.object({ role: z.literal('user'), content: z.array(UserPart) }),
  z.object({ role: z.literal('assistant'), content: z.array(AssistantPart) }),
  z.object({ role: z.literal('tool'), content: z.array(ToolResultPart) }),
]);
export type Message = z.infer<typeof Message>;

/** Tokens of one model call. `inputTokens` includes cache reads and writes; `outputTokens` includes reasoning. */
export const Usage = z.object({
  inputTokens: z.int().nonnegative(),
  outputTokens: z.int().nonnegative(),
  cacheReadTokens: z.int().nonnegative().default(0),
  cacheWriteTokens: z.int().nonnegative().default(0),
  reasoningTokens: z.int().nonnegative().default(0),
});
export type Usage = z.infer<typeof Usage>;

/** A count of tokens that the provider did not give, or gave lower than it can be: what is charged is the most that is possible. */
export const AssumedCount = z.enum(['inputTokens', 'outputTokens']);
export type AssumedCount = z.infer<typeof AssumedCount>;

/** Of a call that used nothing, or of which nothing is known. */
export const noUsage: Usage = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

export const FinishReason = z.enum(['stop', 'tool_calls', 'length', 'content_filter']);
export type FinishReason = z.infer<typeof FinishReason>;
