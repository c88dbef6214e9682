import { AgentDefinition } from '@nexus-agent/protocol';
import { expect, it, vi } from 'vitest';
import { NexusError } from '#core';
import { makeTool } from '#tools/testing';
import { notesOnAgent, notesOnMentions, notesOnModels } from './agent-notes.ts';

const known = { tools: ['fs_read', 'fs_write', 'http_fetch'], agents: ['chat', 'writer'] };
const notes = (definition: object) => notesOnAgent(AgentDefinition.parse({ name: 'a', models: ['sim/sim-large'], ...definition }), known);

it.each<[object, string[]]>([
  [
    { tools: ['fs_*', 'http_fetch'], subagents: ['writer'], policy: { allow: ['*', 'agent_writer', 'net:*'], deny: ['tool:fs_write'] } },
    [],
  ],
  [{ tools: ['fs_raed'] }, ['tools[0]: there is no tool "fs_raed"; did you mean "fs_read"?']],
  [{ tools: ['mail_*'] }, ['tools[0]: "mail_*" matches no tool that there is; known are fs_read, fs_write, http_fetch']],
  [{ subagents: ['chat', 'wirter'] }, ['subagents[1]: there is no agent "wirter"; did you mean "writer"?']],
  [
    { policy: { allow: ['open_files'] } },
    ['policy.allow[0]: there is no tool "open_files"; known are fs_read, fs_write, http_fetch, and a client may bring it'],
  ],
  [{ policy: { deny: ['fs_wirte'] } }, ['policy.deny[0]: there is no tool "fs_wirte"; did you mean "fs_write"?']],
  [
    { policy: { allow: ['agent_writer'] } },
    ['policy.allow[0]: there is no tool "agent_writer"; known are fs_read, fs_write, http_fetch, and a client may bring it'],
  ],
  [
    {
      subagents: ['writer'],
      mcpServers: {
        a: { command: 'x', elicitation: true, sampling: { agent: 'writer' } },
        b: { command: 'x', sampling: { agent: 'chat' } },
        c: { command: 'x', sampling: { agent: 'chat' }, disabled: true },
      },
    },
    ['mcpServers.b.sampling: nobody answers, as the agent "chat" is none of the subagents'],
  ],
  [{ policy: { allow: ['model:sim-large', 'model:sim/*'] } }, []],
  [
    { policy: { allow: ['model:gpt-9'] } },
    ['policy.allow[0]: there is no model of this agent "gpt-9"; known are sim/sim-large, sim-large'],
  ],
  [{ models: ['default'], policy: { allow: ['model:gpt-9'] } }, []],
  [
    {
      outputSchema: {
        type: 'object',
        requird: ['a'],
        properties: { requird: { type: 'string', maxLenght: 3 } },
        additonalProperties: false,
      },
    },
    [
      'outputSchema.requird is no keyword of JSON Schema and checks nothing; did you mean "required"?',
      'outputSchema.properties.requird.maxLenght is no keyword of JSON Schema and checks nothing; did you mean "maxLength"?',
      'outputSchema.additonalProperties is no keyword of JSON Schema and checks nothing; did you mean "additionalProperties"?',
    ],
  ],
  [
    {
      outputSchema: {
        id: 'x',
        example: 1,
        nullable: true,
        discriminator: { propertyName: 'type' },
        'x-order': 1,
        propertyOrdering: ['a'],
        markdownDescription: 'a',
        errorMessage: 'b',
        deprecated: false,
        xml: {},
        externalDocs: {},
        order: 2,
        widget: 'text',
      },
    },
    [],
  ],
])('of %j says %j [verifies agents.names]', (definition, expected) => {
  expect(notes(definition)).toEqual(expected);
});

it('of a definition in which nothing is right says where it stops, in a moment [verifies agents.names]', () => {
  const words = (count: number, chars: number) =>
    Array.from({ length: count }, (_, index) => `m${index}${'x'.repeat(chars)}`.slice(0, chars));
  const definition = {
    models: words(8, 195).map((ref) => `y/${ref}`),
    policy: { allow: words(200, 190).map((name) => `model:z${name}`), deny: words(200, 190).map((name) => `model:w${name}`) },
  };
  notes(definition);
  // What other threads of the tests compute meanwhile is counted too: the least of five is its own.
  const took = Array.from({ length: 5 }, () => {
    const startedAt = process.cpuUsage().user;
    expect(notes(definition).slice(50)).toEqual(['there are more names that nothing here has']);
    return (process.cpuUsage().user - startedAt) / 1_000;
  });
  expect(Math.min(...took)).toBeLessThan(150);
});

it('names the models that no provider serves, and asks for names only then [verifies agents.names]', async () => {
  const served = ['sim/sim-large', 'sim/sim-small'];
  const resolve = async ([ref = '']: readonly string[]) => {
    if (ref === 'gone/m') throw new NexusError('provider_unavailable', 'nothing listens there');
    if (!served.includes(ref)) throw new NexusError('model_not_found', `no provider serves the model ${ref}`);
    return [];
  };
  const list = vi.fn(async () => served.map((ref) => ({ provider: 'sim', model: ref.slice(4) })) as never);
  const of = (...models: string[]) => notesOnModels(AgentDefinition.parse({ name: 'a', models }), { resolve, list });
  expect(await of('sim/sim-large', 'gone/m')).toEqual([]);
  expect(list).not.toHaveBeenCalled();
  expect(await of('sim/sim-large', 'sim/sim-smal', 'openai/gpt-9')).toEqual([
    'models[1]: there is no model "sim/sim-smal"; did you mean "sim/sim-small"?',
    'models[2]: there is no model "openai/gpt-9"; known are sim/sim-large, sim/sim-small',
  ]);
});

it('tells of tenants and arguments that policies name and nothing here has', async () => {
  const mentions = new Map([
    ['operator:a.cedar:0', { tenants: ['acme', 'nobody'], arguments: ['path', 'pth'], tools: ['fs_read'], notes: [] }],
    ['operator:a.cedar:1', { tenants: [], arguments: ['anything'], tools: [], notes: ['said'] }],
  ]);
  const tool = (name: string, inputSchema: Record<string, unknown>) => ({ ...makeTool({ name, inputSchema }), version: 'v' });
  const tools = [
    tool('fs_read', { type: 'object', properties: { path: {} }, additionalProperties: false }),
    tool('open', { type: 'object' }),
  ];
  expect(await notesOnMentions(mentions, { tools, isTenant: async (name) => name === 'acme' })).toEqual([
    'operator:a.cedar:0: there is no tenant "nobody": no key was made for it',
    'operator:a.cedar:0: no tool that it speaks of takes an argument "pth"; they take path',
    'operator:a.cedar:1: said',
  ]);
});
