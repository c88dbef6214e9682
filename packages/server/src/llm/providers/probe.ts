import type { Clock } from '#core';
import { createTransport, readModelList } from '#llm/transport';

export interface ProbeOptions {
  /** Name of the provider, for errors. */
  readonly name: string;
  readonly baseUrl: string;
  readonly apiKey?: string;
  /** How the key is shown. */
  readonly dialect: 'openai' | 'anthropic';
  readonly proxy?: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
}

/** Asks a provider for its list of models, which costs nothing. Throws a `NexusError` that says what is wrong: the way to it, the key, or the address. */
export async function listProviderModels(options: ProbeOptions): Promise<readonly string[]> {
  const { name, baseUrl, apiKey, dialect, proxy, clock, timeoutMs } = options;
  const key = apiKey?.trim();
  const credentials = dialect === 'anthropic' ? { 'x-api-key': key ?? '' } : { authorization: `Bearer ${key}` };
  const headers = {
    ...(key === undefined ? {} : credentials),
    ...(dialect === 'anthropic' ? { 'anthropic-version': '2023-06-01' } : {}),
  };
  const reach = { provider: name, baseUrl, clock, connectTimeoutMs: timeoutMs };
  const transport = createTransport({ ...reach, ...(proxy === undefined ? {} : { proxy }) });
  try {
    return readModelList(await transport.json({ path: '/models', headers, timeoutMs })).map(({ id }) => id);
  } finally {
    await transport.close();
  }
}
