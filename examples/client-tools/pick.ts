import { createNexusClient, defineTool, runWithTools } from '@nexus-agent/sdk';

/** What is open in the editor, as this program alone knows it. */
const open = ['src/main.ts', 'README.md'];

const openFiles = defineTool({
  name: 'open_files',
  description: 'The files that are open in the editor of the user',
  input: { type: 'object', properties: { ending: { type: 'string' } }, additionalProperties: false },
  execute: ({ ending }) => open.filter((file) => ending === undefined || file.endsWith(String(ending))),
});

const client = createNexusClient({ baseUrl: process.env.NEXUS_URL ?? 'http://127.0.0.1:8080', apiKey: process.env.NEXUS_API_KEY });
const input = process.argv[2] ?? '[[sim tools=open_files(ending=".ts")]] [[sim say="{{result}}"]]';
const run = await runWithTools(client, { agent: 'editor', input }, [openFiles], {
  onEvent: ({ type }) => process.stderr.write(`${type}\n`),
});
process.stdout.write(`${run.status}: ${run.output ?? run.error?.message}\n`);
