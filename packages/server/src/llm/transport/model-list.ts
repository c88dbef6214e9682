import { type Clock, closest, NexusError } from '#core';
import { asRecord, asString } from '#llm/dialects';

/** A model as its server lists it. */
export interface ListedModel {
  readonly id: string;
  readonly contextTokens?: number;
}

/** How servers name the size that they serve a model with: vLLM, OpenRouter and Together, Groq, Mistral. */
const sizeMembers = ['max_model_len', 'context_length', 'context_window', 'max_context_length'];

/** Of a longer list the rest is left out; so are names that no model has. */
const maxListed = 2_000;
const longestId = 200;

export function readModelList(body: unknown): readonly ListedModel[] {
  const data = asRecord(body)?.data;
  return (Array.isArray(data) ? data : []).slice(0, maxListed).flatMap((item) => {
    const model = asRecord(item);
    const id = asString(model?.id);
    if (model === null || id === '' || id.length > longestId) return [];
    const size = sizeMembers.map((name) => model[name]).find((value) => Number.isSafeInteger(value) && Number(value) > 0);
    return [{ id, ...(size === undefined ? {} : { contextTokens: Number(size) }) }];
  });
}

/** What a server lists, asked for when it is wanted. */
export interface ModelList {
  /** The newest list; asks for it when there is none or it is old. Empty when there is none to be had. Never throws. */
  read(): Promise<readonly ListedModel[]>;
  /** The last list that the server gave; null while it gave none. Asks nobody. */
  known(): readonly ListedModel[] | null;
  /** What came of it when it was last asked for; null when that was models, or it was not asked for. */
  trouble(): ListTrouble | null;
}

export type ListTrouble =
  | { readonly type: 'failed'; readonly error: NexusError }
  /** There was an answer that is no list. */
  | { readonly type: 'strange' }
  | { readonly type: 'empty' };

const goodForMs = 60_000;
/** A server that did not answer may be about to start. */
const failedForMs = 2_000;

/** @param ask for the list; bounded in time, rejects when the server does not say */
export function createModelList(ask: () => Promise<unknown>, clock: Pick<Clock, 'monotonic'>): ModelList {
  let known: readonly ListedModel[] | null = null;
  let askedMs = Number.NEGATIVE_INFINITY;
  let failed = false;
  let trouble: ListTrouble | null = null;
  let asking: Promise<readonly ListedModel[]> | null = null;

  async function askNow(): Promise<readonly ListedModel[]> {
    try {
      const body = await ask();
      const models = readModelList(body);
      failed = false;
      known = models;
      trouble = models.length > 0 ? null : { type: Array.isArray(asRecord(body)?.data) ? 'empty' : 'strange' };
    } catch (error) {
      failed = true; // what it listed before is still the best that is known
      trouble = error instanceof NexusError ? { type: 'failed', error } : { type: 'strange' };
    } finally {
      askedMs = clock.monotonic();
      asking = null;
    }
    return known ?? [];
  }

  return {
    async read() {
      const isFresh = clock.monotonic() - askedMs <= (failed ? failedForMs : goodForMs);
      if (isFresh && asking === null) return known ?? [];
      asking ??= askNow();
      return asking;
    },
    known: () => known,
    trouble: () => trouble,
  };
}

/** A sentence for people, with the place that was asked. */
export function describeTrouble(
  { provider, baseUrl }: { readonly provider: string; readonly baseUrl: string },
  trouble: ListTrouble,
): string {
  const { origin, pathname } = new URL(baseUrl);
  const path = pathname.replace(/\/+$/, '');
  const place = `${origin}${path}/models`;
  const hint = path === '' ? `; ${versionHint}` : '';
  if (trouble.type === 'empty') return `${provider} lists no models at ${place}: load one there, or name one under \`models\` beside it`;
  if (trouble.type === 'strange') return `${provider} answers at ${place} with something that is no list of models${hint}`;
  const status = trouble.error.details?.status;
  if (status === 404 || status === 405) return `${provider} has no list of models at ${place} (status ${status})${hint}`;
  return typeof status === 'number' ? `${trouble.error.message}, when asked for ${place}` : trouble.error.message;
}

export const versionHint = 'does its base URL lack the version, such as /v1?';

/** Whether a list has the model. Ollama lists `qwen3` as `qwen3:latest`. */
export function isListed(list: readonly ListedModel[], model: string): boolean {
  return list.some(({ id }) => id === model || id === `${model}:latest`);
}

/** The name that was probably meant; null when none is near. What Ollama lists as `qwen3:latest` is called `qwen3`, too. */
export function nearestModel(model: string, names: readonly string[]): string | null {
  return closest(model, [...names, ...names.map((name) => name.replace(/:latest$/, ''))]);
}

const otherKinds = /embed|rerank|whisper|tts|dall-e|image|moderation|transcri|\bbge\b|minilm|\bclip\b/i;

/** The first that by its name may be a model to talk to. */
export function firstChatModel(list: readonly ListedModel[]): string | null {
  return list.find(({ id }) => !otherKinds.test(id))?.id ?? null;
}
