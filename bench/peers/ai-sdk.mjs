// The AI SDK's agent loop on the mock upstream, with nothing around it. Prints one JSON line: CPU per run.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { stepCountIs, ToolLoopAgent, tool } from 'ai';
import { z } from 'zod';

const [baseUrl, runs, concurrency, warmup] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const provider = createOpenAICompatible({ name: 'mock', baseURL: `${baseUrl}/v1`, includeUsage: true });
const agent = new ToolLoopAgent({
  model: provider('mock'),
  tools: {
    lookup: tool({
      description: 'Looks a key up',
      inputSchema: z.object({ key: z.string() }),
      execute: async ({ key }) => `value of ${key}`,
    }),
  },
  stopWhen: stepCountIs(10),
});
let chars = 0;
async function once() {
  const result = await agent.stream({ prompt: 'Look the keys up and answer.' });
  for await (const text of result.textStream) chars += text.length;
}
async function many(count) {
  let left = count;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (left-- > 0) await once();
    }),
  );
}
await many(warmup);
chars = 0;
const cpu = process.cpuUsage();
const start = performance.now();
await many(runs);
const used = process.cpuUsage(cpu);
process.stdout.write(
  `${JSON.stringify({ runs, cpuMsPerRun: (used.user + used.system) / 1000 / runs, runsPerSecond: (runs / (performance.now() - start)) * 1000, charsPerRun: chars / runs, rssMb: process.memoryUsage().rss / 1e6 })}\n`,
);
process.exit(0);
