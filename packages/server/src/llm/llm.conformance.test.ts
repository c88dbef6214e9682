import { systemClock } from '#core';
import { createModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider, createOpenAiProvider, createSimProvider } from '#llm/providers';
import { startSimulator } from '#llm/sim';
import { describeModelService } from '../../../../test/conformance/llm.ts';

const clock = systemClock;
const subjects = {
  'OpenAI Chat Completions': (url: string) => createOpenAiProvider({ name: 'p', apiKey: 'k', baseUrl: `${url}/v1`, clock }),
  'OpenAI-compatible server': (url: string) => createOpenAiCompatibleProvider({ name: 'p', baseUrl: `${url}/v1`, clock, price: 'free' }),
  'Anthropic Messages': (url: string) => createAnthropicProvider({ name: 'p', apiKey: 'k', baseUrl: `${url}/v1`, clock }),
  simulator: (url: string) => createSimProvider({ name: 'p', url, clock }),
};

for (const [name, createProvider] of Object.entries(subjects)) {
  describeModelService(name, async () => {
    const simulator = await startSimulator();
    const service = createModelService({
      providers: [createProvider(simulator.url)],
      clock,
      random: () => 0,
      retry: { maxAttemptsPerTarget: 2, maxDelayMs: 1_000 },
    });
    return {
      service,
      model: (fault) => (fault === undefined ? 'p/sim-large' : `p/sim-large?${fault}`),
      activeRequests: () => simulator.stats().activeRequests,
      async close() {
        await service.close();
        await simulator.close();
      },
    };
  });
}
