// The AI SDK's agent loop on the mock upstream, with nothing around it. Reads a number of runs per line of standard input,
// makes them, and prints one JSON line for each.
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { stepCountIs, ToolLoopAgent, tool } from 'ai';
import { z } from 'zod';

const [baseUrl, concurrency] = [process.argv[2], Number(process.argv[3])];
const provider = createOpenAICompatible({ name: 'mock', baseURL: `${baseUrl}/v1`, includeUsage: true });
const folder = mkdtempSync(join(tmpdir(), 'nexus-bench-peer-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
/** An agent whose files lie in a folder of their own. */
function createAgent(lane) {
  const fileAt = (path) => join(folder, String(lane), path);
  return new ToolLoopAgent({
    model: provider('mock'),
    tools: {
      lookup: tool({
        description: 'Looks a key up',
        inputSchema: z.object({ key: z.string() }),
        execute: async ({ key }) => `value of ${key}`,
      }),
      fs_write: tool({
        description: 'Writes a file',
        inputSchema: z.object({ path: z.string(), content: z.string() }),
        execute: async ({ path, content }) => {
          await mkdir(dirname(fileAt(path)), { recursive: true });
          await writeFile(fileAt(path), content);
          return 'written';
        },
      }),
      fs_read: tool({
        description: 'Reads a file',
        inputSchema: z.object({ path: z.string() }),
        execute: ({ path }) => readFile(fileAt(path), 'utf8'),
      }),
    },
    stopWhen: stepCountIs(10),
  });
}
const agents = Array.from({ length: concurrency }, (_, lane) => createAgent(lane));
let chars = 0;
async function once(agent) {
  const result = await agent.stream({ prompt: 'Look the keys up and answer.' });
  for await (const text of result.textStream) chars += text.length;
}
for await (const line of createInterface({ input: process.stdin })) {
  const runs = Number(line);
  chars = 0;
  const startedAt = performance.now();
  let left = runs;
  await Promise.all(
    agents.map(async (agent) => {
      while (left-- > 0) await once(agent);
    }),
  );
  process.stdout.write(`${JSON.stringify({ elapsedMs: performance.now() - startedAt, charsPerRun: chars / runs })}\n`);
}
process.exit(0);
