import { AgentDefinition, TenantId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from './testing/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({});
});
afterAll(() => platform.close());

it('a schema that is none is refused when the agent is put, with its place [verifies hostile.stall.schemas]', async () => {
  const response = await fetch(`http://127.0.0.1:${platform.port}/v1/agents`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'broken', outputSchema: { properties: { a: { pattern: '(' } } } }),
  });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({
    code: 'invalid_request',
    detail: expect.stringContaining('outputSchema.properties.a.pattern: '),
    details: { issues: [{ path: 'outputSchema.properties.a.pattern' }] },
  });
});

it('an agent that was stored with what is no longer taken is refused before a model is asked, is listed, and disturbs no other [verifies hostile.stall.stored]', async () => {
  for (const [name, outputSchema] of Object.entries({
    late: { $async: true, type: 'object' },
    broken: { properties: { a: { pattern: '(' } } },
    lost: { $ref: '#/$defs/nowhere' },
  })) {
    const definition = AgentDefinition.parse({ name, models: ['sim/sim-large'], outputSchema });
    const row = { tenantId: TenantId.parse('default'), name, version: `agv_${name}`, source: 'api', definition, createdAt: 0 } as const;
    await platform.app.store.putAgent(row);
    const refused = platform.start({ agent: name, input: '[[sim say="{}"]]' });
    await expect(refused).rejects.toThrow(new RegExp(`answered 400: .*the outputSchema of agent ${name} .* cannot be used: `));
  }
  const { data } = await platform.ask<{ data: { name: string }[] }>('GET', '/v1/agents');
  expect(data.map(({ name }) => name)).toEqual(expect.arrayContaining(['late', 'broken', 'lost']));
  await platform.complete({ input: 'hello' });
});
