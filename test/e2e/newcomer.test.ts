import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import { startServer, strictAnthropic, strictOpenAi } from '../../packages/server/src/llm/testing/index.ts';

const root = join(import.meta.dirname, '../..');
const examples = readdirSync(join(root, 'examples/agents')).map((file) => file.replace('.yaml', ''));

/** A provider of one key, as strict as the real one, and with its models; behind it somebody has to think. */
interface Provider {
  readonly url: string;
  /** The models that were asked. */
  readonly asked: string[];
  /** What it refused, and why. */
  readonly refused: string[];
  close(): Promise<void>;
}

let simulator: Simulator;
const providers: Provider[] = [];
let folder: string;
beforeAll(async () => {
  simulator = await startSimulator();
  folder = mkdtempSync(join(tmpdir(), 'nexus-newcomer-'));
});
afterAll(async () => {
  for (const provider of providers) await provider.close();
  await simulator.close();
  rmSync(folder, { recursive: true, force: true });
});

async function provider(models: readonly string[], key: { readonly header: string; readonly value: string } | null): Promise<Provider> {
  const asked: string[] = [];
  const refused: string[] = [];
  const server = await startServer(async (request, response) => {
    const refuse = (status: number, message: string) => {
      refused.push(message);
      response.writeHead(status).end(JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message } }));
    };
    if (key !== null && request.headers[key.header] !== key.value) return refuse(401, 'wrong key');
    const path = request.url ?? '';
    if (request.method === 'GET') return void response.end(JSON.stringify({ data: models.map((id) => ({ id })) }));
    const body = JSON.parse(request.body);
    asked.push(body.model);
    if (!models.includes(body.model)) return refuse(404, `there is no model ${body.model}`);
    const faults = path === '/v1/messages' ? strictAnthropic(request.body) : strictOpenAi(request.body);
    if (faults.length > 0) return refuse(400, faults.join('; '));
    const answer = await fetch(simulator.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, model: 'sim-large' }),
    });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' }).end(await answer.text());
  });
  const made = { url: server.url, asked, refused, close: () => server.close() };
  providers.push(made);
  return made;
}

interface Typed {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** What a newcomer types, in an empty folder, with nothing set but this. */
function nexus(args: readonly string[], env: Record<string, string>, config = ''): Promise<Typed> {
  const cwd = mkdtempSync(join(folder, 'run-'));
  if (config !== '') writeFileSync(join(cwd, 'nexus.config.yaml'), config);
  const child = spawn(process.execPath, [join(root, 'packages/server/bin/nexus.mjs'), '--embedded', ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', NO_COLOR: '1', NEXUS_WORKSPACE_SEED: join(root, 'examples/workspace'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err })));
}

const withExamples = { NEXUS_AGENTS_DIR: join(root, 'examples/agents'), NEXUS_POLICIES_DIR: join(root, 'examples/policies') };
const task = 'Say hello to somebody who is new here.';

describe.each([
  [
    'OPENAI_API_KEY alone',
    'openai/gpt-5-mini',
    async () => {
      const { url, ...made } = await provider(['gpt-4o-mini', 'gpt-5-mini'], { header: 'authorization', value: 'Bearer sk-mine' });
      return { ...made, env: { OPENAI_API_KEY: 'sk-mine', OPENAI_BASE_URL: `${url}/v1` }, config: '' };
    },
  ],
  [
    'ANTHROPIC_API_KEY alone',
    'anthropic/claude-sonnet-4-5',
    async () => {
      const { url, ...made } = await provider(['claude-haiku-4-5', 'claude-sonnet-4-5'], { header: 'x-api-key', value: 'sk-ant-mine' });
      return { ...made, env: { ANTHROPIC_API_KEY: 'sk-ant-mine', ANTHROPIC_BASE_URL: url }, config: '' };
    },
  ],
  [
    'a local server alone',
    'ollama/qwen3:latest',
    async () => {
      const { url, ...made } = await provider(['nomic-embed-text:latest', 'qwen3:latest'], null);
      return { ...made, env: {}, config: `providers:\n  compatible:\n    - name: ollama\n      baseUrl: ${url}/v1\n` };
    },
  ],
])('with %s', (_what, model, serve) => {
  const smallModel = model.replace('sonnet', 'haiku');
  let served: Awaited<ReturnType<typeof serve>>;
  const run = (args: readonly string[], env: Record<string, string> = {}) => nexus(args, { ...served.env, ...env }, served.config);
  beforeAll(async () => {
    served = await serve();
  });

  it('the agent that is there by itself answers with the real model [verifies provider.newcomer]', async () => {
    const { code, out, err } = await run(['run', task]);
    expect(code, err).toBe(0);
    expect(out.trim()).not.toBe('');
    expect(err).toContain(`step 1 · ${model}\n`);
    expect(err).not.toContain('simulator');
  });

  it.each(examples)('the example %s answers with the real model [verifies provider.newcomer]', async (agent) => {
    const { code, out, err } = await run(['run', '--agent', agent, task], withExamples);
    expect(code, err).toBe(0);
    expect(out.trim()).not.toBe('');
    const small = ['researcher', 'thrifty'].includes(agent);
    expect(err).toContain(`step 1 · ${small ? smallModel : model}\n`);
    expect(err).not.toContain('simulator');
  });

  it('the doctor says what serves, and what is passed over', async () => {
    const { out } = await run(['doctor'], withExamples);
    expect(out).toContain(`by default ${model}`);
    expect(out).toMatch(/✓ models .*agent resilient passes over sim\/sim-down, sim-anthropic\/sim-large/);
    expect((await run(['models'], withExamples)).err).toMatch(/passed over where it is not served: sim\/sim-small, .*\(agent researcher\)/);
  });

  it('nothing was refused, and no other model was asked', () => {
    expect(served.refused).toEqual([]);
    expect(new Set(served.asked)).toEqual(new Set([model, smallModel].map((ref) => ref.slice(ref.indexOf('/') + 1))));
  });
});

it('says what to set when nothing serves', async () => {
  const { code, err } = await nexus(['run', task], { NEXUS_SIM: 'off' });
  expect(code).not.toBe(0);
  expect(err).toMatch(
    /no provider has a model to use by default.*Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or name a server under providers\.compatible/,
  );
});

it('names what is served when a model is asked for that is not', async () => {
  const { url } = await provider(['qwen3:latest'], null);
  const config = `providers: { compatible: [{ name: ollama, baseUrl: '${url}/v1' }] }`;
  const { err } = await nexus(['run', '--model', 'ollama/llama9', task], {}, config);
  expect(err).toContain('no provider serves the model ollama/llama9; served here: ollama/qwen3:latest');
});

it('gives the lines to add for a model without a known price, and they work as they are', async () => {
  const { url } = await provider(['fancy-1'], null);
  // An address that is not known to be this machine's.
  const config = `providers:\n  compatible:\n    - name: far\n      baseUrl: ${url.replace('127.0.0.1', '0.0.0.0')}/v1\n`;
  const refused = await nexus(['run', task], {}, config);
  expect(refused.code).toBe(3);
  expect(refused.err).toContain('price_unknown');
  const lines = /^prices:\n {2}.*$/m.exec(refused.err)?.[0] ?? '';
  expect(lines).toContain('far/fancy-1');
  const paid = await nexus(['run', task], {}, `${config}${lines}\n`);
  expect(paid.code, paid.err).toBe(0);
  expect(paid.err).toMatch(/completed .*\$0\.00\d*[1-9]/);
  for (const free of ['prices:\n  far/*: free\n', '      price: free\n']) {
    const { code, err } = await nexus(['run', task], {}, config + free);
    expect(code, err).toBe(0);
    expect(err).toMatch(/completed .*\$0\.000000/);
  }
});
