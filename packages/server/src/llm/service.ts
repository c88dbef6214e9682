import type { Clock } from '#core';
import { Attempt, type Provider } from '#llm/attempt';
import type { ModelService } from '#llm/contract';
import { defaultRetryPolicy, nextAttempt, type RetryPolicy } from '#llm/routing';
import { createCatalogue, type ModelSettings } from './catalogue.ts';

export interface ModelServiceDependencies {
  /** In order of preference for a bare model name that several of them serve. */
  readonly providers: readonly Provider[];
  readonly clock: Clock;
  /** Between 0 and 1; spreads retries out. */
  readonly random: () => number;
  readonly retry?: Partial<RetryPolicy>;
  /** Prices and limits by `provider/model` or `provider/*`; they win over the catalogue. */
  readonly models?: Readonly<Record<string, ModelSettings>>;
}

/** The LLM service in this process. Closing it closes its providers. */
export function createModelService(dependencies: ModelServiceDependencies): ModelService {
  const { providers, clock, random } = dependencies;
  /** Models whose answers went on beyond their limits, by provider and name, for as long as this process lives. */
  const ignoring = new Set<string>();
  const keyOf = (provider: string, model: string) => `${provider}/${model}`;
  const catalogue = createCatalogue({ ...dependencies, ignoresLimits: (...names) => ignoring.has(keyOf(...names)) });
  const policy = { ...defaultRetryPolicy, ...dependencies.retry };
  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  return {
    resolve: catalogue.resolve,
    list: catalogue.list,
    countInput: async ({ target, request }, { signal }) =>
      (await byName.get(target.provider)?.countInput({ model: target.model, request }, signal)) ?? null,
    next: async (question) => nextAttempt(question, policy, random),
    attempt: (message, { signal }) => ({
      [Symbol.asyncIterator]: () => {
        const { provider, model } = message.target;
        return new Attempt(byName.get(provider), message, { signal, clock, onOverrun: () => ignoring.add(keyOf(provider, model)) });
      },
    }),
    async close() {
      await Promise.all(providers.map((provider) => provider.close()));
    },
  };
}
