// The AI SDK's agent loop on the mock upstream, with nothing around it. Reads a number of runs per line of standard input,
// makes them, and prints one JSON line for each.
import { createInterface } from 'node:readline';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { stepCountIs, ToolLoopAgent, tool } from 'ai';
import { z } from 'zod';

const [baseUrl, concurrency] = [process.argv[2], Number(process.argv[3])];
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
for await (const line of createInterface({ input: process.stdin })) {
  const runs = Number(line);
  chars = 0;
  const startedAt = performance.now();
  let left = runs;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (left-- > 0) await once();
    }),
  );
  process.stdout.write(`${JSON.stringify({ elapsedMs: performance.now() - startedAt, charsPerRun: chars / runs })}\n`);
}
process.exit(0);
