import { randomBytes } from 'node:crypto';
import { dictionary } from '@nexus-agent/protocol';
import type { NexusConfig } from '#apps/config';
import { type Clock, noSecrets, type SecretValues } from '#core';
import { createModelService, type ModelPrice, type ModelService, type ModelSettings, type Provider } from '#llm';
import {
  createAnthropicProvider,
  createOpenAiCompatibleProvider,
  createOpenAiProvider,
  createSimProvider,
  freePrice,
} from '#llm/providers';
import type { Logger } from '#telemetry';
import { isLoopback, type ProxyQuestion, proxyFor } from './proxy.ts';

export interface ModelsSetup {
  readonly llm: ModelService;
  /** True when nothing but the simulator answers. */
  readonly simulated: boolean;
  /** Where the simulator answers, if there is one. */
  readonly simulatorPort: number | null;
  close(): Promise<void>;
}

/** Models of the configured providers; the simulator stands in when there is none. */
export async function setUpModels(
  config: NexusConfig,
  clock: Clock,
  logger: Logger,
  secrets: SecretValues = noSecrets,
): Promise<ModelsSetup> {
  const { openai, anthropic, compatible } = config.providers;
  const { maxAttempts, maxAttemptsPerTarget, baseDelayMs, maxDelayMs } = config.llm;
  const retry = { maxAttempts, maxAttemptsPerTarget, baseDelayMs, maxDelayMs };
  const providers: Provider[] = [];
  const common = (name: string, server: ProviderSettings) => ({
    ...requestOptions(server),
    ...connectionOf(server, config),
    clock,
    secrets,
    onOmitted(model: string, features: readonly string[]) {
      logger.warn({ provider: name, model, features }, 'a server refused features of requests, which are done without from now on');
    },
  });
  for (const [name, provider] of Object.entries({ openai, anthropic })) {
    if (provider === undefined || provider.apiKey !== undefined || !namesOwnAddress(provider.baseUrl)) continue;
    const variable = `${name.toUpperCase()}_API_KEY`;
    logger.warn(
      { provider: name, baseUrl: new URL(provider.baseUrl).origin },
      `${name} has an address and no key, and is not used: set ${variable}, to any word where the server wants none`,
    );
  }
  if (anthropic?.apiKey !== undefined) {
    const { apiKey, promptCaching, thinking } = anthropic;
    providers.push(
      createAnthropicProvider({
        apiKey,
        baseUrl: withVersion(anthropic.baseUrl),
        ...(promptCaching === undefined ? {} : { promptCaching }),
        ...(thinking === undefined ? {} : { thinking: thinking === 'adaptive' ? { type: 'adaptive' } : { type: 'enabled', ...thinking } }),
        ...discoveryOf(anthropic.baseUrl),
        ...common('anthropic', anthropic),
      }),
    );
  }
  if (openai?.apiKey !== undefined) {
    const { apiKey, baseUrl } = openai;
    providers.push(
      createOpenAiProvider({
        apiKey,
        baseUrl,
        freeUnlisted: isLoopback(baseUrl),
        ...discoveryOf(baseUrl),
        ...bodyOptions(openai),
        ...common('openai', openai),
      }),
    );
  }
  for (const server of compatible) {
    providers.push(
      createOpenAiCompatibleProvider({
        name: server.name,
        baseUrl: server.baseUrl,
        ...(server.apiKey === undefined ? {} : { apiKey: server.apiKey }),
        ...priceOf(server),
        countsTokens: server.countsTokens ?? isLoopback(server.baseUrl),
        ...(server.priceCatalogue === undefined ? {} : { priceCatalogue: server.priceCatalogue }),
        ...(server.models === undefined ? {} : { models: server.models.map((model) => model.id) }),
        discovers: isLoopback(server.baseUrl) || server.price === 'free' ? 'all' : 'sizes',
        ...bodyOptions(server),
        ...common(server.name, server),
      }),
    );
  }

  const simulated = config.sim.enabled === 'on' || (config.sim.enabled === 'auto' && providers.length === 0);
  const simulator = simulated ? await startSimulatorOf(clock) : null;
  if (simulator !== null) {
    const { headers, models } = simulator;
    const common = { clock, headers, models, timeouts: timeoutsOf({}, config), maxAnswerChars: config.llm.maxAnswerChars };
    providers.push(createSimProvider({ name: 'sim', url: simulator.url, ...common }));
    providers.push(createSimProvider({ name: 'sim-anthropic', url: simulator.url, dialect: 'anthropic', ...common }));
  }

  const llm = createModelService({ providers, clock, random: Math.random, retry, models: modelSettings(config), logger, secrets });
  return {
    llm,
    simulated: simulator !== null && providers.length === 2,
    simulatorPort: simulator === null ? null : Number(new URL(simulator.url).port),
    async close() {
      await llm.close();
      await simulator?.close();
    },
  };
}

/** An address that somebody has set. */
function namesOwnAddress(baseUrl: string): boolean {
  return !/^https:\/\/api\.(openai|anthropic)\.com(\/|$)/.test(baseUrl);
}

type Compatible = NexusConfig['providers']['compatible'][number];

interface ProviderSettings extends ProviderConnection {
  readonly headers?: Compatible['headers'];
  readonly omit?: Compatible['omit'];
  readonly models?: Compatible['models'];
  readonly thinksUnseen?: boolean | undefined;
}

/** Headers, by names that no other spelling doubles, what the server does not take, and how its models think. */
function requestOptions({ headers, omit = [], models = [], thinksUnseen }: ProviderSettings) {
  const lower = Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  return {
    headers: Object.fromEntries(lower),
    omit: (model: string) => [...omit, ...(settingsOf(models, model).omit ?? [])],
    thinksUnseen: (model: string) => settingsOf(models, model).thinksUnseen ?? thinksUnseen,
  };
}

type ModelEntry = Extract<NonNullable<Compatible['models']>[number], { readonly omit?: unknown }>;

function settingsOf(models: NonNullable<Compatible['models']>, id: string): Partial<ModelEntry> {
  return models.find((model) => model.id === id) ?? {};
}

/** A server on this machine bills nobody, unless it is said to. */
function priceOf({ price, baseUrl }: Compatible): { readonly price?: ModelPrice | 'free' } {
  if (price !== undefined) return { price: price === 'free' ? 'free' : wholePrice(price) };
  return isLoopback(baseUrl) ? { price: 'free' } : {};
}

/** A machine of one's own lists what it serves; a gateway or a cloud under the name of a provider serves more than it lists. */
function discoveryOf(baseUrl: string): { readonly discovers?: 'all' } {
  return isLoopback(baseUrl) ? { discovers: 'all' } : {};
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
  const { maxAnswerChars } = config.llm;
  return { timeouts: timeoutsOf(provider, config), maxAnswerChars, ...(proxy === undefined ? {} : { proxy }) };
}

function timeoutsOf(provider: Omit<ProviderConnection, 'baseUrl'>, { llm }: NexusConfig) {
  const firstByteTimeoutMs = provider.firstByteTimeoutMs ?? llm.firstByteTimeoutMs;
  return {
    connectTimeoutMs: provider.connectTimeoutMs ?? llm.connectTimeoutMs,
    idleTimeoutMs: provider.idleTimeoutMs ?? llm.idleTimeoutMs,
    ...(firstByteTimeoutMs === undefined ? {} : { firstByteTimeoutMs }),
  };
}

/** Loaded when it stands in: a server with providers of its own does without. It answers nobody but this process. */
async function startSimulatorOf(clock: Clock) {
  const { keyHeader, simulatedNames, startSimulator } = await import('#llm/sim');
  const key = randomBytes(24).toString('base64url');
  const simulator = await startSimulator({ host: '127.0.0.1', port: 0, clock, key });
  return { ...simulator, headers: { [keyHeader]: key }, models: simulatedNames };
}

/** Prices and sizes that the configuration states, by `provider/model`. */
function modelSettings(config: NexusConfig): Record<string, ModelSettings> {
  const settings: Record<string, ModelSettings> = dictionary({});
  for (const server of config.providers.compatible) {
    for (const model of server.models ?? []) {
      const { contextTokens, maxOutputTokens, imageTokens }: Partial<ModelEntry> = model;
      settings[`${server.name}/${model.id}`] = {
        ...(contextTokens === undefined ? {} : { contextTokens }),
        ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
        ...(imageTokens === undefined ? {} : { imageTokens }),
      };
    }
  }
  for (const [ref, price] of Object.entries(config.prices)) {
    settings[ref] = { ...settings[ref], price: price === 'free' ? freePrice : wholePrice(price, ref.startsWith('anthropic/') ? 1.25 : 1) };
  }
  return settings;
}

/** @param cacheWriteFactor what writing to the cache costs of the price of the input where nobody says it */
function wholePrice(price: Exclude<NexusConfig['prices'][string], 'free'>, cacheWriteFactor = 1): ModelPrice {
  const { inputMicroUsdPerMillion, cacheReadMicroUsdPerMillion, cacheWriteMicroUsdPerMillion } = price;
  return {
    ...price,
    cacheReadMicroUsdPerMillion: cacheReadMicroUsdPerMillion ?? inputMicroUsdPerMillion,
    cacheWriteMicroUsdPerMillion: cacheWriteMicroUsdPerMillion ?? Math.ceil(inputMicroUsdPerMillion * cacheWriteFactor),
  };
}

export function withVersion(baseUrl: string): string {
  const url = new URL(baseUrl);
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = /\/v\d+$/.test(path) ? path : `${path}/v1`;
  return url.href;
}
