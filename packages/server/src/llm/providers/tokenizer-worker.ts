import { parentPort } from 'node:worker_threads';

/**
 * The thread that counts tokens as OpenAI's models do. A vocabulary takes half a second to load and 80 MB, which the event loop of
 * the server does not have. It imports only packages, so that it starts from source and from the built files alike.
 */
export type Vocabulary = 'o200k_base' | 'cl100k_base';

export interface CountJob {
  readonly id: number;
  readonly vocabulary: Vocabulary;
  readonly texts: readonly string[];
}

export interface CountedJob {
  readonly id: number;
  readonly counts: readonly number[];
}

type Encode = (text: string, options: { readonly disallowedSpecial: Set<string> }) => readonly number[];

/** What is one piece to the vocabulary takes time by the square of its length: of longer ones, bytes are counted. */
const longRuns = /[\p{L}\p{M}]{256,}|\s{256,}|[^\s\p{L}\p{N}]{256,}/gu;
/** A cut may keep a blank or a sign from the word that it belongs to. */
const cutTokens = 2;
const asText = { disallowedSpecial: new Set<string>() };

async function vocabulary(name: Vocabulary): Promise<Encode> {
  const { encode } =
    name === 'o200k_base' ? await import('gpt-tokenizer/encoding/o200k_base') : await import('gpt-tokenizer/encoding/cl100k_base');
  return encode;
}

function tokensOf(encode: Encode, text: string): number {
  let tokens = 0;
  let from = 0;
  for (const { index, 0: run } of text.matchAll(longRuns)) {
    tokens += encode(text.slice(from, index), asText).length + Buffer.byteLength(run) + cutTokens;
    from = index + run.length;
  }
  return tokens + encode(text.slice(from), asText).length;
}

parentPort?.on('message', async ({ id, vocabulary: name, texts }: CountJob) => {
  const encode = await vocabulary(name);
  parentPort?.postMessage({ id, counts: texts.map((text) => tokensOf(encode, text.toWellFormed())) } satisfies CountedJob);
});
