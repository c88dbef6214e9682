import type { Clock } from '#core';
import { asRecord, asString } from '#llm/dialects';

/** A model as its server lists it. */
export interface ListedModel {
  readonly id: string;
  readonly contextTokens?: number;
}

/** How servers name the size that they serve a model with: vLLM, OpenRouter and Together, Groq, Mistral. */
const sizeMembers = ['max_model_len', 'context_length', 'context_window', 'max_context_length'];

export function readModelList(body: unknown): readonly ListedModel[] {
  const data = asRecord(body)?.data;
  return (Array.isArray(data) ? data : []).flatMap((item) => {
    const model = asRecord(item);
    const id = asString(model?.id);
    if (model === null || id === '') return [];
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
}

const goodForMs = 60_000;
/** A server that did not answer may be about to start. */
const failedForMs = 2_000;

/** @param ask for the list; bounded in time, rejects when the server does not say */
export function createModelList(ask: () => Promise<unknown>, clock: Pick<Clock, 'monotonic'>): ModelList {
  let known: readonly ListedModel[] | null = null;
  let askedMs = Number.NEGATIVE_INFINITY;
  let failed = false;
  let asking: Promise<readonly ListedModel[]> | null = null;

  async function askNow(): Promise<readonly ListedModel[]> {
    try {
      const models = readModelList(await ask());
      failed = false;
      known = models;
    } catch {
      failed = true; // what it listed before is still the best that is known
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
  };
}

/** Whether a list has the model. Ollama lists `qwen3` as `qwen3:latest`. */
export function isListed(list: readonly ListedModel[], model: string): boolean {
  return list.some(({ id }) => id === model || id === `${model}:latest`);
}

const otherKinds = /embed|rerank|whisper|tts|dall-e|image|moderation|transcri|\bbge\b|minilm|\bclip\b/i;

/** The first that by its name may be a model to talk to. */
export function firstChatModel(list: readonly ListedModel[]): string | null {
  return list.find(({ id }) => !otherKinds.test(id))?.id ?? null;
}
