/** What a provider says of a request that is longer than its model takes. The figures are in its own tokens, where it gives any. */
export interface Overflow {
  /** What the model takes, or the most that a request may have. */
  readonly contextTokens?: number;
  /** What was asked, as the provider counts. */
  readonly requestTokens?: number;
}

export interface OverflowWords {
  readonly status: number | undefined;
  /** Machine-readable words of the error, joined. */
  readonly type: string;
  readonly message: string;
  /** The error itself: llama.cpp gives its figures as members. */
  readonly error: Readonly<Record<string, unknown>>;
}

/** Codes and types by which servers name it. */
const codes =
  /context_length_exceeded|context_window_exceeded|exceed_context_size|string_above_max_length|request_too_large|prompt_too_long/;

/** In words. One line for each kind of server: hosted ones, gateways, and the local ones. */
const phrases: readonly RegExp[] = [
  /maximum context length|max(?:imum)? model length|model'?s context length|greater than the context length|exceeds the context length/i,
  /context[ _-]?(?:window|size|length|limit)\b.{0,60}\b(?:exceed|overflow|too (?:small|long|large))|(?:exceed|overflow|longer than|fit|larger than)\w*\b.{0,60}\bcontext[ _-]?(?:window|size|length|limit)/i,
  /when context the overflows|context of (?:only )?\d+ tokens|reached context length/i,
  /(?:prompt|input|request|conversation|message)s? (?:is|are) too long|prompt too long|prompt exceeds max|too long for (?:the )?(?:requested )?model/i,
  /too many (?:input |prompt )?tokens|input tokens? exceed/i,
  /input token count|prompt token count|prompt length.{0,30}exceeds|longer than the maximum model length/i,
  /maximum prompt length is|maximum input length|exceeded model token limit|maximum supported sequence length/i,
  /'messages': array too long/i,
  /(?:input|prompt|conversation|message)s? too long|prompt and completion (?:is|are) too long/i,
  /\b(?:input|prompt)[ _]?(?:tokens?|length)\b.{0,40}\b(?:exceed|must be less than|greater than|longer than)/i,
  /\b(?:input|prompt|request)\b.{0,60}\bexceeds? the (?:maximum (?:allowed )?(?:input length|number of tokens)|model limit|[\d,]+ token limit)/i,
  /max(?:imum)? message tokens|message token length exceed|exceeds maximum sequence length|> max(?:imum)? context\b|\(n_ctx\)/i,
  /maximum of [\d,]+ input tokens/i,
  /reduce the length of (?:the|your) (?:messages|prompt|input)|too large for model/i,
  /`?inputs`? (?:tokens \+ `?max_new_tokens`? must be|must have less than)|range of input length should be/i,
];

/** The tools have a limit of their own: no conversation is too long for it. */
const isOfTools = /invalid '(tools|functions)\b/i;

/** A request that is larger than what may be asked in a minute cannot pass at any time. */
const tooLargeForRate = /request too large/i;

/** Where the size stands, in the words of each; the first that is found counts. */
const sizes: readonly RegExp[] = [
  /maximum context length (?:is|of|:)\s*([\d,]+)/i,
  /maximum context length: ([\d,]+)/i,
  /too large for model with ([\d,]+)/i,
  /context limit: [\d,]+ \+ [\d,]+ > ([\d,]+)/i,
  /[\d,]+(?: tokens)? > ([\d,]+)/i,
  /context (?:size|length|window)(?: of)?(?: only)? \(?([\d,]+)/i,
  /model length of ([\d,]+)/i,
  /maximum (?:prompt|input) length(?: is| of|:)? \(?([\d,]+)/i,
  /tokens allowed \(?([\d,]+)/i,
  /supports up to ([\d,]+)/i,
  /model token limit: ([\d,]+)/i,
  /limit:? ([\d,]+), requested/i,
  /(?:window|tokens) limit \(?([\d,]+)/i,
  /exceeds (?:the )?maximum (?:sequence )?length(?: of)? ([\d,]+)/i,
  /max_seq_len \(([\d,]+)/i,
  /input length of ([\d,]+) tokens/i,
  /the ([\d,]+) token limit/i,
  /number of tokens \(([\d,]+)/i,
  /maximum of ([\d,]+) input tokens/i,
  /max(?:imum)? context \(([\d,]+)/i,
  /the max is ([\d,]+)/i,
  /, limit ([\d,]+)$/i,
  /too long: [\d,]+ > ([\d,]+)/i,
  /limit (?:of|is) ([\d,]+)/i,
  /must be <= ([\d,]+)/i,
  /less than ([\d,]+) tokens/i,
  /cannot exceed ([\d,]+)/i,
  /sequence length is just ([\d,]+)/i,
  /max(?:imum)?(?: input tokens)?(?: is|:) ([\d,]+)/i,
  /\[1, ?([\d,]+)\]/,
];

/** Null when the error says something else. */
export function readOverflow(words: OverflowWords): Overflow | null {
  const { status, type, message } = words;
  const told = () => figures(words);
  if (status === 413) return told();
  if (status === 429) return tooLargeForRate.test(message) ? told() : null;
  if (status !== undefined && status !== 400 && status !== 422 && status !== 500) return null;
  if (isOfTools.test(message)) return null;
  if (codes.test(type)) return told();
  return phrases.some((phrase) => phrase.test(message) || phrase.test(type)) ? told() : null;
}

/** Smaller figures are not sizes of models. */
const leastTokens = 128;

function figures({ message, error }: OverflowWords): Overflow {
  const given = numberOf(error.n_ctx);
  const found = sizes.map((pattern) => pattern.exec(message)?.[1]).find((text) => text !== undefined);
  const contextTokens = given ?? numberOf(found);
  if (contextTokens === undefined) return {};
  const numbers = [...message.matchAll(/\d[\d,]*/g)].map(([text]) => numberOf(text) ?? 0);
  const asked = numberOf(error.n_prompt_tokens) ?? Math.max(...numbers.filter((value) => value < contextTokens * 1_000), 0);
  return { contextTokens, ...(asked > contextTokens ? { requestTokens: asked } : {}) };
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' ? Number(value.replaceAll(',', '')) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= leastTokens ? number : undefined;
}
