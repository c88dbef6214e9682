import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collectText, createNexusClient } from '@nexus-agent/sdk';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createNexus, defineTool, NexusError, type RunningNexus, startNexus, type Tool } from './index.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'nexus-embed-'));
const own: Tool = {
  name: 'own',
  description: 'for tests',
  inputSchema: { type: 'object' },
  effects: 'once',
  permissions: [],
  timeoutMs: 1_000,
  execute: async () => ({ type: 'ok', output: '' }),
};
let nexus: RunningNexus | undefined;
afterEach(async () => {
  await nexus?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

it('is a server in this process, with tools of its own', async () => {
  const calls: unknown[] = [];
  const weather: Tool = {
    name: 'weather',
    description: 'The weather of a place',
    inputSchema: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'], additionalProperties: false },
    effects: 'none',
    permissions: [],
    timeoutMs: 1_000,
    async execute(input) {
      calls.push(input);
      return { type: 'ok', output: 'rain' };
    },
  };
  nexus = await startNexus({ config: { port: 0, dataDir }, tools: [weather], log: 'silent' });
  const client = createNexusClient({ baseUrl: nexus.url });
  await client.agents.put({ name: 'guide', models: ['sim/sim-large'], tools: ['weather'], policy: { allow: ['weather'] } });
  const input = '[[sim tools=weather(place="Bern")]] [[sim say="{{result}}"]]';
  const answer = await collectText(client.chat({ agent: 'guide', input }));
  expect(answer).toBe('rain');
  expect(calls).toEqual([{ place: 'Bern' }]);
  await nexus.close();
  await nexus.close();
  await expect(fetch(nexus.url)).rejects.toThrow();
});

it('says every fault of its configuration, reads nothing else, and leaves nothing open', async () => {
  process.env.NEXUS_PORT = 'not a port';
  try {
    const faulty = startNexus({ config: { dataDir, port: -1, runs: { leaseMs: 1 } }, log: 'silent' });
    await expect(faulty).rejects.toBeInstanceOf(NexusError);
    await expect(faulty).rejects.toThrow(/port[\s\S]*runs\.leaseMs/);
    await expect(faulty).rejects.not.toThrow(/NEXUS_PORT|flag/);
    await expect(faulty).rejects.toThrow(/-1 \(given to startNexus\)/);
  } finally {
    delete process.env.NEXUS_PORT;
  }
});

it('changes nothing that a running server works by when its port is taken', async () => {
  const agentsDir = join(dataDir, 'first');
  const otherDir = join(dataDir, 'other');
  for (const [folder, name] of [
    [agentsDir, 'one'],
    [otherDir, 'two'],
  ] as const) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${name}.yaml`), `{ name: ${name}, models: [sim/sim-large] }`);
  }
  nexus = await startNexus({ config: { port: 0, dataDir, agentsDir }, log: 'silent' });
  const port = Number(new URL(nexus.url).port);
  const second = startNexus({ config: { port, dataDir, agentsDir: otherDir }, log: 'silent' });
  await expect(second).rejects.toThrow(`port ${port} on 127.0.0.1 is in use`);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const { data } = await createNexusClient({ baseUrl: nexus.url }).agents.list();
  expect(data.map(({ name }) => name)).toEqual(expect.arrayContaining(['one']));
  expect(data.map(({ name }) => name)).not.toContain('two');
});

it.each<[string, object, RegExp]>([
  ['an option that there is not', { tool: [] }, /^there is no option tool; did you mean tools\?$/],
  [
    'a setting outside of config',
    { dataDirectory: dataDir },
    /^there is no option dataDirectory; known are config, tools, log; settings belong under config$/,
  ],
  ['a level of the log that there is not', { log: 'wran' }, /^log: there is no level "wran"; did you mean "warn"\?$/],
  ['tools that are no list', { tools: {} }, /^tools: expected a list of tools, got an object$/],
  [
    'a tool whose rule of safety is misspelt',
    { tools: [{ ...own, effects: 'onec' }] },
    /^tools\[0\] \(own\)\.effects: .* did you mean "once"\?$/,
  ],
  [
    'a tool with the name of a built-in one',
    { tools: [{ ...own, name: 'fs_read' }] },
    /^two tools are named fs_read, tools\[0\] and one that is there already; rename one$/,
  ],
])('refuses %s at the start [verifies tools.given.checked]', async (_, options, message) => {
  const folder = mkdtempSync(join(tmpdir(), 'nexus-embed-'));
  const started = startNexus({ config: { port: 0, dataDir: folder }, log: 'silent', ...options });
  await expect(started.finally(() => rmSync(folder, { recursive: true, force: true }))).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringMatching(message),
  });
});

describe('a platform inside a program', () => {
  const folder = () => mkdtempSync(join(tmpdir(), 'nexus-embed-'));

  it('runs agents with tools that are functions, and answers at no address [verifies embed.library]', async () => {
    const place = folder();
    const seen: unknown[] = [];
    {
      await using inside = await createNexus({
        config: { dataDir: place },
        log: 'silent',
        tools: [
          defineTool({
            ...{
              name: 'weather',
              description: 'The weather of a place',
              input: z.object({ place: z.string(), days: z.number().default(1) }),
            },
            effects: 'none',
            execute({ place: where, days }, { progress, callId }) {
              progress('looking');
              seen.push(callId);
              if (where === 'nowhere') throw new Error('there is no such place; try Bern');
              return { where, days };
            },
          }),
        ],
      });
      expect(inside.url).toBeNull();
      await inside.agents.put({ name: 'guide', models: ['sim/sim-large'], tools: ['weather'], policy: { allow: ['weather'] } });
      const ask = (args: string) =>
        collectText(inside.chat({ agent: 'guide', input: `[[sim tools=weather(${args})]] [[sim say="{{result}}"]]` }));
      expect(await ask('place="Bern"')).toBe('{"where":"Bern","days":1}');
      expect(await ask('place="nowhere"')).toContain('there is no such place; try Bern');
      expect(await ask('town="Bern"')).toContain('tool_input_invalid');
      expect(new Set(seen).size).toBe(2);
      expect((await inside.tools.list()).data.find(({ name }) => name === 'weather')).toMatchObject({ source: 'program', tier: 'host' });
      await expect(inside.runs.get('run_01h455vb4pex5vsknk084sn02q')).rejects.toMatchObject({ code: 'not_found' });
    }
    rmSync(place, { recursive: true, force: true });
  });

  it('listens where it is told to, and ends its streams when it ends [verifies embed.library]', async () => {
    const place = folder();
    const inside = await createNexus({ config: { dataDir: place, port: 0, drainMs: 0 }, log: 'silent', http: true });
    const outside = createNexusClient({ baseUrl: inside.url ?? '', apiKey: 'nxl_wrong' });
    await expect(outside.models.list()).rejects.toMatchObject({ code: 'unauthenticated' });
    expect((await inside.models.list()).data.length).toBeGreaterThan(0);
    const streams = Array.from({ length: 20 }, () => collectText(inside.chat({ input: 'hello' })));
    expect((await Promise.all(streams)).every((text) => text.length > 0)).toBe(true);
    await Promise.all([inside.close(), inside.close()]);
    await expect(inside.models.list()).rejects.toMatchObject({ code: 'unavailable', message: 'the platform is closed' });
    rmSync(place, { recursive: true, force: true });
  });

  it.each<[string, object, RegExp]>([
    ['an address that is no switch', { http: { port: 1 } }, /^http: expected true or false/],
    [
      'a tool whose name is taken',
      { tools: [defineTool({ name: 'fs_read', description: 'x', input: { type: 'object' }, execute: () => 1 })] },
      /fs_read/,
    ],
    ['tools that are no list', { tools: 'weather' }, /^tools: expected a list of tools/],
    ['what is no tool', { tools: [null] }, /^tools\[0\]: expected a tool, got null/],
  ])('refuses %s [verifies embed.library]', async (_what, options, message) => {
    const place = folder();
    const started = createNexus({ config: { dataDir: place }, log: 'silent', ...options });
    await expect(started.finally(() => rmSync(place, { recursive: true, force: true }))).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    });
  });
});
