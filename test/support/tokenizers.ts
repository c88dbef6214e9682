import { getTokenizer } from '@anthropic-ai/tokenizer';
import * as cl100k from 'gpt-tokenizer/encoding/cl100k_base';
import * as o200k from 'gpt-tokenizer/encoding/o200k_base';
import llama from 'llama-tokenizer-js';

const claude = getTokenizer();
const asText = { disallowedSpecial: new Set<string>() };

/**
 * Real tokenizers of every kind in use, as counters: of bytes, of bytes after the text was put into its compatible form, and of
 * characters with bytes for what is in no vocabulary. Bounded texts only: they take long words badly.
 */
export const realTokenizers: Readonly<Record<string, (text: string) => number>> = {
  o200k_base: (text) => o200k.encode(text, asText).length,
  cl100k_base: (text) => cl100k.encode(text, asText).length,
  'claude 2': (text) => claude.encode(text.normalize('NFKC'), 'all').length,
  // Without the mark that begins a text, which is the template's.
  'llama 2': (text) => llama.encode(text, false, true).length,
};
