import type { NexusConfig } from '#apps/config';
import type { Clock } from '#core';
import { createModelService, type ModelService, type ModelSettings, type Provider } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider, createOpenAiProvider, createSimProvider } from '#llm/providers';
import { isLoopback, type ProxyQuestion, proxyFor } from './proxy.ts';

export interface ModelsSetup {
  readonly llm: ModelService;
  /** What the built-in agent uses, in order of preference. */
  readonly defaultModels: readonly string[];
  /** True when nothing but the simulator answers. */
  readonly simulated: boolean;
  close(): Promise<void>;
}

/** Models of the configured providers; the simulator stands in when there is none. */
export async function setUpModels(config: NexusConfig, clock: Clock): Promise<ModelsSetup> {
  const { openai, anthropic, compatible } = config.providers;
  const { maxAttempts, maxAttemptsPerTarget, baseDelayMs, maxDelayMs } = config.llm;
  const retry = { maxAttempts, maxAttemptsPerTarget, baseDelayMs, maxDelayMs };
  const providers: Provider[] = [];
  const defaultModels: string[] = [];
  if (anthropic?.apiKey !== undefined) {
    const { apiKey, promptCaching, thinking } = anthropic;
    providers.push(
      createAnthropicProvider({
        apiKey,
        baseUrl: withVersion(anthropic.baseUrl),
        ...(promptCaching === undefined ? {} : { promptCaching }),
        ...(thinking === undefined ? {} : { thinking: thinking === 'adaptive' ? { type: 'adaptive' } : { type: 'enabled', ...thinking } }),
        ...requestOptions(anthropic),
        ...connectionOf(anthropic, config),
        clock,
      }),
    );
    defaultModels.push('anthropic/claude-sonnet-4-5');
  }
  if (openai?.apiKey !== undefined) {
    const { apiKey, baseUrl } = openai;
    const reached = connectionOf(openai, config);
    providers.push(createOpenAiProvider({ apiKey, baseUrl, ...bodyOptions(openai), ...requestOptions(openai), ...reached, clock }));
    defaultModels.push('openai/gpt-5-mini');
  }
  for (const server of compatible) {
    providers.push(
      createOpenAiCompatibleProvider({
        name: server.name,
        baseUrl: server.baseUrl,
        ...(server.apiKey === undefined ? {} : { apiKey: server.apiKey }),
        ...(isLoopback(server.baseUrl) ? { price: 'free' } : {}), // a server on this machine bills nobody
        countsTokens: server.countsTokens ?? isLoopback(server.baseUrl),
        ...(server.priceCatalogue === undefined ? {} : { priceCatalogue: server.priceCatalogue }),
        models: server.models.map((model) => model.id),
        ...bodyOptions(server),
        ...requestOptions(server),
        ...connectionOf(server, config),
        clock,
      }),
    );
    defaultModels.push(...server.models.slice(0, 1).map((model) => `${server.name}/${model.id}`));
  }

  const simulated = config.sim.enabled === 'on' || (config.sim.enabled === 'auto' && providers.length === 0);
  const simulator = simulated ? await startSimulatorOf(clock) : null;
  if (simulator !== null) {
    const timeouts = timeoutsOf({}, config);
    providers.push(createSimProvider({ name: 'sim', url: simulator.url, clock, timeouts }));
    providers.push(createSimProvider({ name: 'sim-anthropic', url: simulator.url, dialect: 'anthropic', clock, timeouts }));
    defaultModels.push('sim/sim-large');
  }

  const llm = createModelService({ providers, clock, random: Math.random, retry, models: modelSettings(config) });
  return {
    llm,
    defaultModels: defaultModels.slice(0, 8),
    simulated: simulator !== null && providers.length === 2,
    async close() {
      await llm.close();
      await simulator?.close();
    },
  };
}

type Compatible = NexusConfig['providers']['compatible'][number];

/** Headers, by names that no other spelling doubles, and what the server does not take. */
function requestOptions(
  server: Pick<Compatible, 'headers'> & { readonly omit?: Compatible['omit']; readonly models?: Compatible['models'] },
) {
  const { headers, omit = [], models = [] } = server;
  const lower = Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  const ofModel = (id: string) => models.flatMap((model) => (model.id === id && 'omit' in model ? (model.omit ?? []) : []));
  return { headers: Object.fromEntries(lower), omit: (model: string) => [...omit, ...ofModel(model)] };
}

function bodyOptions({ maxTokensField, extraBody }: Pick<Compatible, 'maxTokensField' | 'extraBody'>) {
  return {
    ...(maxTokensField === undefined ? {} : { maxTokensField }),
    ...(extraBody === undefined ? {} : { extraBody }),
  };
}

interface ProviderConnection extends ProxyQuestion {
  readonly connectTimeoutMs?: number | undefined;
  readonly firstByteTimeoutMs?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
}

/** How a provider is reached, and how patiently: as it says itself, else as all are. */
function connectionOf(provider: ProviderConnection, config: NexusConfig) {
  const proxy = proxyFor(provider, config.proxy);
  return { timeouts: timeoutsOf(provider, config), ...(proxy === undefined ? {} : { proxy }) };
}

function timeoutsOf(provider: Omit<ProviderConnection, 'baseUrl'>, { llm }: NexusConfig) {
  const firstByteTimeoutMs = provider.firstByteTimeoutMs ?? llm.firstByteTimeoutMs;
  return {
    connectTimeoutMs: provider.connectTimeoutMs ?? llm.connectTimeoutMs,
    idleTimeoutMs: provider.idleTimeoutMs ?? llm.idleTimeoutMs,
    ...(firstByteTimeoutMs === undefined ? {} : { firstByteTimeoutMs }),
  };
}

/** Loaded when it stands in: a server with providers of its own does without. */
async function startSimulatorOf(clock: Clock) {
  const { startSimulator } = await import('#llm/sim');
  return startSimulator({ host: '127.0.0.1', port: 0, clock });
}

/** Prices and sizes that the configuration states, by `provider/model`. */
function modelSettings(config: NexusConfig): Record<string, ModelSettings> {
  const settings: Record<string, ModelSettings> = {};
  for (const server of config.providers.compatible) {
    for (const model of server.models) {
      const { contextTokens, maxOutputTokens, imageTokens } = {
        contextTokens: undefined,
        maxOutputTokens: undefined,
        imageTokens: undefined,
        ...model,
      };
      settings[`${server.name}/${model.id}`] = {
        ...(contextTokens === undefined ? {} : { contextTokens }),
        ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
        ...(imageTokens === undefined ? {} : { imageTokens }),
      };
    }
  }
  for (const [ref, price] of Object.entries(config.prices)) {
    settings[ref] = {
      ...settings[ref],
      price: {
        inputMicroUsdPerMillion: price.inputMicroUsdPerMillion,
        outputMicroUsdPerMillion: price.outputMicroUsdPerMillion,
        cacheReadMicroUsdPerMillion: price.cacheReadMicroUsdPerMillion ?? price.inputMicroUsdPerMillion,
        cacheWriteMicroUsdPerMillion: price.cacheWriteMicroUsdPerMillion ?? price.inputMicroUsdPerMillion,
      },
    };
  }
  return settings;
}

export function withVersion(baseUrl: string): string {
  const url = new URL(baseUrl);
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = /\/v\d+$/.test(path) ? path : `${path}/v1`;
  return url.href;
}
