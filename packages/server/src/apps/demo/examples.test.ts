import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { systemClock, systemTimers } from '#core';
import { createTestEngine } from '#policy/testing';
import { silentLogger } from '#telemetry/testing';
import { createSandbox } from '#tools';
import { agentFolder, parseAgents } from '../agent-folder.ts';
import { setUpModels } from '../models.ts';
import { policyFolder } from '../policy-folder.ts';
import { findExamples } from './server.ts';

const examples = findExamples();
const read = (path: string) => readFileSync(`${examples}/workspace/${path}`, 'utf8');

interface Table {
  readonly head: readonly string[];
  readonly rows: readonly Readonly<Record<string, string>>[];
}

function table(path: string): Table {
  const [head = [], ...rows] = read(path)
    .trim()
    .split('\n')
    .map((line) => line.split(','));
  return {
    head,
    rows: rows.map((row) => {
      expect(row, path).toHaveLength(head.length);
      return Object.fromEntries(head.map((name, index) => [name, row[index] ?? '']));
    }),
  };
}

const models = { current: undefined as Awaited<ReturnType<typeof setUpModels>> | undefined };
beforeAll(async () => {
  models.current = await setUpModels(resolveConfig({ env: {} }), systemClock, silentLogger);
});
afterAll(() => models.current?.close());

it('has agents that are valid, whose models are served, and whose sub-agents are there and permitted', async () => {
  const folder = agentFolder({ agentsDir: `${examples}/agents`, dataDir: '.nexus' });
  const { files, unread } = await folder.read();
  expect(unread).toEqual([]);
  const agents = await parseAgents(files, folder.path);
  expect(agents.map((agent) => agent.name)).toEqual(['analyst', 'researcher', 'resilient', 'thrifty']);
  const policy = createTestEngine();
  for (const agent of agents) {
    policy.check(agent.policy ?? {});
    const served = (await models.current?.llm.resolve(agent.models)) ?? [];
    expect(`${served[0]?.provider}/${served[0]?.model}`, agent.name).toBe(
      agent.models[0] === 'default' ? 'sim/sim-large' : agent.models[0],
    );
    for (const name of agent.subagents) {
      expect(agents.map((other) => other.name)).toContain(name);
      const decision = policy.decide({
        principal: { type: 'Agent', id: agent.name, tenant: 'default' },
        action: 'tool.execute',
        resource: { type: 'Tool', id: `agent_${name}` },
        context: { arguments: { task: 'read' } },
        ...(agent.policy === undefined ? {} : { agentPolicy: agent.policy }),
      });
      expect(decision.effect, `${agent.name} calls ${name}`).toBe('allow');
    }
  }
});

it('has policies that load and say what their comments say', async () => {
  const { files, unread } = await policyFolder({ policiesDir: `${examples}/policies`, dataDir: '.nexus' }).read();
  expect(unread).toEqual([]);
  const engine = createTestEngine({ sources: files });
  const ask = (id: string, args: Record<string, unknown>, agent = 'someone', attributes: { effects?: string } = {}) =>
    engine.decide({
      principal: { type: 'Agent', id: agent, tenant: 'default' },
      action: 'tool.execute',
      resource: { type: 'Tool', id, attributes },
      context: { arguments: args },
      agentPolicy: { allow: ['*'] },
    });
  expect(ask('fs_write', { path: 'reports/a.md' })).toMatchObject({ effect: 'allow' });
  expect(ask('fs_write', { path: 'data/planets.csv' })).toMatchObject({
    effect: 'deny',
    reasons: ['operator:writing.cedar:reports-only'],
  });
  expect(ask('fs_write', {})).toMatchObject({ effect: 'deny' });
  expect(ask('fs_read', { path: 'reports/../../key' })).toMatchObject({ effect: 'deny', reasons: ['operator:writing.cedar:no-climbing'] });
  expect(ask('http_fetch', { url: 'https://example.com' }, 'analyst')).toMatchObject({
    effect: 'deny',
    reasons: ['operator:network.cedar:files-only'],
  });
  expect(ask('http_fetch', { url: 'https://example.com' })).toMatchObject({ effect: 'allow' });
  expect(ask('pay', {}, 'someone', { effects: 'once' })).toMatchObject({ effect: 'require_approval' });
});

it('has figures of the planets that agree with one another', () => {
  const { rows } = table('data/planets.csv');
  expect(rows.map((row) => row.planet)).toEqual(['Mercury', 'Venus', 'Earth', 'Mars', 'Jupiter', 'Saturn', 'Uranus', 'Neptune']);
  for (const row of rows) {
    const value = (name: string) => {
      const number = Number(row[name]);
      expect(row[name] !== '' && Number.isFinite(number), `${row.planet} ${name}`).toBe(true);
      return number;
    };
    const near = (actual: number, expected: number, part: number, what: string) =>
      expect(Math.abs(actual / expected - 1), `${row.planet}: ${what} ${actual} against ${expected}`).toBeLessThan(part);
    const massKg = value('mass_1e24_kg') * 1e24;
    const radiusM = (value('diameter_km') / 2) * 1000;
    const gravitational = 6.6743e-11;
    // Diameters are equatorial, and the giants are flattened and turn fast: hence the wide margins.
    near(massKg / ((4 / 3) * Math.PI * radiusM ** 3), value('density_kg_m3'), 0.11, 'density');
    near((gravitational * massKg) / radiusM ** 2, value('gravity_m_s2'), 0.17, 'gravity');
    near(Math.sqrt((2 * gravitational * massKg) / radiusM) / 1000, value('escape_velocity_km_s'), 0.03, 'escape velocity');
    const kepler = 2 * Math.PI * Math.sqrt((value('semi_major_axis_million_km') * 1e6) ** 3 / 132_712_440_018);
    near(kepler / 86_400, value('orbital_period_days'), 0.015, "Kepler's third law");
    expect(value('temperature_c')).toBeGreaterThan(-273);
  }
});

it('has figures of the moons that agree with the planets they go round', () => {
  const masses = new Map(table('data/planets.csv').rows.map((row) => [row.planet, Number(row.mass_1e24_kg) * 1e24]));
  const { rows } = table('data/moons.csv');
  expect(rows).toHaveLength(7);
  for (const row of rows) {
    const axisM = Number(row.distance_thousand_km) * 1e6;
    const days = (2 * Math.PI * Math.sqrt(axisM ** 3 / (6.6743e-11 * (masses.get(row.planet ?? '') ?? 0)))) / 86_400;
    expect(Math.abs(days / Number(row.orbital_period_days) - 1), row.moon).toBeLessThan(0.015);
    expect(Number(row.radius_km), row.moon).toBeGreaterThan(1000);
  }
});

it('has a program whose orbits take the time that Kepler gives them', async () => {
  const sandbox = createSandbox({ clock: systemClock, timers: systemTimers });
  try {
    const files = Object.fromEntries(['programs/orbits.js', 'data/planets.csv'].map((path) => [path, read(path)]));
    const result = await sandbox.run({ code: "eval(files['programs/orbits.js'])", input: 2_000, files });
    if (result.type === 'error') throw new Error(result.error.message);
    const computed = result.value as { planet: string; computedDays: number }[]; // the program's last expression
    const { rows } = table('data/planets.csv');
    expect(computed).toHaveLength(rows.length);
    computed.forEach(({ planet, computedDays }, index) => {
      const row = rows[index];
      const kepler = (2 * Math.PI * Math.sqrt((Number(row?.semi_major_axis_million_km) * 1e6) ** 3 / 132_712_440_018)) / 86_400;
      expect(planet).toBe(row?.planet);
      expect(Math.abs(computedDays / kepler - 1), planet).toBeLessThan(0.001);
    });
  } finally {
    await sandbox.close();
  }
});

it('has documents that name their sources', () => {
  const names = readdirSync(`${examples}/workspace/documents`);
  expect(names).toHaveLength(3);
  for (const name of names) expect(read(`documents/${name}`)).toMatch(/^Source: .+/m);
});
