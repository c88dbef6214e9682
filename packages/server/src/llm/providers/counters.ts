import { dictionary, type Message } from '@nexus-agent/protocol';
import { asRecord } from '#llm/dialects';
import type { CountQuestion, InputCounter } from '#llm/transport';
import type { Tokenizer } from './tokenizer.ts';
import type { Vocabulary } from './tokenizer-worker.ts';

const counted = ['model', 'messages', 'system', 'tools', 'tool_choice', 'thinking', 'output_config'];

/**
 * Anthropic's `/messages/count_tokens` (platform.claude.com/docs/en/build-with-claude/token-counting). It says of itself that the
 * charge may differ by a little.
 */
export const countByAnthropic: InputCounter = async ({ body, post }) => {
  const asked = Object.fromEntries(Object.entries(body).filter(([name]) => counted.includes(name)));
  const said = asRecord<{ input_tokens: unknown }>(await post({ path: '/messages/count_tokens', body: asked }))?.input_tokens;
  return typeof said === 'number' ? said + Math.ceil(said / 64) + 16 : Number.NaN;
};

/**
 * The `/tokenize` of vLLM, which takes a conversation, and of llama.cpp, which takes what `/apply-template` makes of one. Both
 * know the model's own template. Images are in neither count.
 */
export function createServerCounter(): InputCounter {
  let kind: 'vllm' | 'llama.cpp' | null = null;
  return async (question) => {
    if (question.request.messages.some(({ content }) => content.some(({ type }) => type === 'image'))) return null;
    const byVllm = kind === 'llama.cpp' ? null : await countByVllm(question);
    if (byVllm !== null) kind = 'vllm';
    if (kind === 'vllm') return byVllm;
    const byLlama = await countByLlamaCpp(question);
    if (byLlama !== null) kind = 'llama.cpp';
    return byLlama;
  };
}

async function countByVllm({ model, body: { messages, tools }, post }: CountQuestion): Promise<number | null> {
  const asked = { model, messages, ...(tools === undefined ? {} : { tools }), add_generation_prompt: true };
  const said = asRecord<{ count: unknown }>(await post({ path: '/tokenize', fromRoot: true, body: asked }))?.count;
  return typeof said === 'number' ? said : null;
}

async function countByLlamaCpp({ body: { messages, tools }, post }: CountQuestion): Promise<number | null> {
  const asked = { messages, ...(tools === undefined ? {} : { tools }), add_generation_prompt: true };
  const prompt = asRecord<{ prompt: unknown }>(await post({ path: '/apply-template', fromRoot: true, body: asked }))?.prompt;
  if (typeof prompt !== 'string') return null;
  const body = { content: prompt, add_special: true, parse_special: true };
  const tokens = asRecord<{ tokens: unknown }>(await post({ path: '/tokenize', fromRoot: true, body }))?.tokens;
  return Array.isArray(tokens) ? tokens.length : null;
}

/** What OpenAI writes around a message, a part of one, and a tool; it shows tools in a form that is shorter than JSON. */
const openAiTokens = { request: 32, message: 8, part: 16, tools: 128, tool: 16, schema: 128 };

/** Counts by the vocabulary of the model; of models whose vocabulary nobody has published, nothing. */
export function createVocabularyCounter(
  tokenizer: Tokenizer,
  {
    vocabularyOf,
    imageTokens,
  }: { readonly vocabularyOf: (model: string) => Vocabulary | null; readonly imageTokens: (model: string) => number },
): InputCounter {
  /** Messages never change: each is counted once for a vocabulary. */
  const counted: Record<Vocabulary, WeakMap<Message, number>> = dictionary({ o200k_base: new WeakMap(), cl100k_base: new WeakMap() });
  return async ({ model, request, signal }) => {
    const vocabulary = vocabularyOf(model);
    if (vocabulary === null) return null;
    const known = counted[vocabulary];
    const fresh = request.messages.filter((message) => !known.has(message));
    const texts = [frameText(request), ...fresh.map((message) => message.content.map(partText).join('\n'))];
    const counts = await tokenizer.count(vocabulary, texts, signal);
    const [frame, ...ofFresh] = counts ?? [];
    if (frame === undefined) return null;
    fresh.forEach((message, index) => {
      known.set(message, (ofFresh[index] ?? 0) + openAiTokens.message + message.content.length * openAiTokens.part);
    });
    let tokens = frame + openAiTokens.request + request.tools.length * openAiTokens.tool;
    if (request.tools.length > 0) tokens += openAiTokens.tools;
    if (request.outputSchema !== undefined) tokens += openAiTokens.schema;
    for (const message of request.messages) {
      tokens += known.get(message) ?? 0;
      for (const { type } of message.content) if (type === 'image') tokens += imageTokens(model);
    }
    return tokens;
  };
}

function frameText({ system, tools, outputSchema }: CountQuestion['request']): string {
  const shown = tools.map(({ name, description, inputSchema }) => JSON.stringify({ name, description, inputSchema }, null, 2));
  return [system, ...shown, outputSchema === undefined ? '' : JSON.stringify(outputSchema, null, 2)].join('\n');
}

function partText(part: Message['content'][number]): string {
  switch (part.type) {
    case 'text':
    case 'reasoning':
      return part.text;
    case 'image':
      return '';
    case 'tool_result':
      return part.output;
    case 'tool_call':
      return `${part.name}\n${part.invalidInput ?? JSON.stringify(part.input)}`;
    default:
      return part satisfies never;
  }
}
