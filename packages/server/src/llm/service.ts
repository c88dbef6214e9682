import { type Clock, createCountedCache, type SecretValues } from '#core';
import { Attempt, type Provider } from '#llm/attempt';
import type { ModelService, ModelTarget } from '#llm/contract';
import { defaultRetryPolicy, nextAttempt, type RetryPolicy } from '#llm/routing';
import type { Logger } from '#telemetry';
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
  /** What no answer may hold: it is taken out of its texts and calls before anybody reads them. */
  readonly secrets?: SecretValues;
  /** Where it says what it found out of a model. */
  readonly logger?: Pick<Logger, 'warn' | 'info'>;
}

/** Names of models come from requests: so many are remembered. */
const mostNoted = 1_000;
const unheard = { warn: () => undefined, info: () => undefined };

/** The LLM service in this process. Closing it closes its providers. */
export function createModelService(dependencies: ModelServiceDependencies): ModelService {
  const { providers, clock, random, logger: notes = unheard } = dependencies;
  /** Models whose answers went on beyond their limits, by provider and name, for as long as this process lives. */
  const ignoring = createCountedCache<string, true>(mostNoted);
  /** Those that were said to be passed over; as long. */
  const passedOver = createCountedCache<string, true>(mostNoted);
  /** What models take, where that turned out to be less than was thought, by the tenant that was told so; as long. */
  const contexts = createCountedCache<string, number>(mostNoted);
  const keyOf = (provider: string, model: string) => `${provider}/${model}`;
  const catalogue = createCatalogue({
    ...dependencies,
    ignoresLimits: (...names) => ignoring.has(keyOf(...names)),
    onPassedOver(model) {
      if (!passedOver.has(model)) notes.info({ model }, 'a model of a list is not served here and is passed over');
      passedOver.set(model, true);
    },
  });
  const policy = { ...defaultRetryPolicy, ...dependencies.retry };
  const contextKey = (tenantId: string, { provider, model }: Pick<ModelTarget, 'provider' | 'model'>) =>
    `${tenantId} ${keyOf(provider, model)}`;

  function asTaught(target: ModelTarget, tenantId: string): ModelTarget {
    const contextTokens = Math.min(target.contextTokens, contexts.get(contextKey(tenantId, target)) ?? target.contextTokens);
    if (contextTokens === target.contextTokens) return target;
    return { ...target, contextTokens, maxOutputTokens: Math.min(target.maxOutputTokens, contextTokens) };
  }

  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  return {
    resolve: async (refs, { tenantId = '' } = {}) => (await catalogue.resolve(refs)).map((target) => asTaught(target, tenantId)),
    list: catalogue.list,
    countInput: async ({ target, request, tenantId = '' }, { signal }) =>
      (await byName.get(target.provider)?.countInput({ model: target.model, request, tenantId }, signal)) ?? null,
    next: async (question) => nextAttempt(question, policy, random),
    attempt: (message, { signal }) => ({
      [Symbol.asyncIterator]: () => {
        const { provider, model } = message.target;
        const key = keyOf(provider, model);
        return new Attempt(byName.get(provider), message, {
          signal,
          clock,
          secrets: dependencies.secrets,
          onOverrun() {
            if (!ignoring.has(key)) notes.warn({ provider, model }, 'a model ignores the limit of its answers; policies may refuse it');
            ignoring.set(key, true);
          },
          onContext(contextTokens, why) {
            const taught = contextKey(message.tenantId ?? '', message.target);
            const known = contexts.get(taught);
            if (known !== undefined && known <= contextTokens) return;
            contexts.set(taught, contextTokens);
            const said = why === 'cut' ? 'a server read less than it was sent, without a word' : 'a model takes less than was thought';
            notes.warn({ provider, model, contextTokens, thoughtTokens: message.target.contextTokens }, said);
          },
        });
      },
    }),
    async close() {
      await Promise.all(providers.map((provider) => provider.close()));
    },
  };
}
