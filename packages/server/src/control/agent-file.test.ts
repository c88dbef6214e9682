import { expect, it } from 'vitest';
import { parseAgentFile } from './agent-file.ts';

const file = (budget: string, more = '') => parseAgentFile('a.yaml', `name: a\nmodels: [sim/sim-large]\nbudget: ${budget}\n${more}`);

it.each([
  ['{ costMicroUsd: 50000 }', { costMicroUsd: 50_000 }],
  ['{ usd: $0.50 }', { costMicroUsd: 500_000 }],
  ['{ usd: 0.50 }', { costMicroUsd: 500_000 }],
  ['{ usd: 2 }', { costMicroUsd: 2_000_000 }],
  ['{ costMicroUsd: $2 }', { costMicroUsd: 2_000_000 }],
  ['{ costMicroUsd: "2" }', { costMicroUsd: 2 }],
  ['{ tokens: 200k, toolCalls: 30, wallMs: 10m }', { tokens: 200_000, toolCalls: 30, wallMs: 600_000 }],
  ['{ wallMs: 90000 }', { wallMs: 90_000 }],
])('reads a budget of %s', async (written, budget) => {
  expect((await file(written)).budget).toEqual(budget);
});

it.each([
  ['{ usd: -1 }', 'a.yaml: budget.usd: expected an amount in US dollars such as 0.50, $25 or 25usd, got "-1"'],
  ['{ usd: 1e-9 }', 'budget.usd: expected an amount in US dollars'],
  ['{ usd: 1, costMicroUsd: 1 }', 'usd and costMicroUsd are the same limit'],
  ['{ costMicroUsd: 0.5 }', 'budget.costMicroUsd: expected int'],
  ['{ wallMs: "90" }', 'budget.wallMs: expected a time with its unit'],
  ['{ tokens: $5 }', 'budget.tokens: expected a whole number of tokens'],
  ['{ cost: 5 }', 'budget.cost: unknown '],
  ['{ __proto__: 5 }', 'budget'],
  ['5', 'budget: expected object'],
])('refuses a budget of %s, saying where and what would be right', async (written, message) => {
  await expect(file(written)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining(message) });
});

it('names the nearest key for one that is unknown', async () => {
  await expect(file('{}', 'maxStep: 3')).rejects.toMatchObject({ message: expect.stringContaining('did you mean "maxSteps"?') });
});

it.each([
  ['Windows line ends and a mark of the byte order', '\ufeffname: a\r\nmodels: [x/y]\r\n'],
  ['anchors', 'x-shared: &m [x/y]\nname: a\nmodels: *m\n'],
])('reads %s', async (what, text) => {
  const read = parseAgentFile('a.yaml', text);
  if (what === 'anchors') await expect(read).rejects.toMatchObject({ message: expect.stringContaining('x-shared') });
  else expect((await read).name).toBe('a');
});

it.each([
  ['a key twice', 'name: a\nname: b\nmodels: [x/y]\n', 'unique'],
  ['tabs', 'name: a\n\tmodels: [x/y]\n', 'a.yaml is not valid YAML'],
  ['nothing', '', 'a.yaml'],
  ['two documents', 'name: a\n---\nname: b\n', 'a.yaml is not valid YAML'],
])('refuses a file with %s', async (_what, text, message) => {
  await expect(parseAgentFile('a.yaml', text)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining(message) });
});
