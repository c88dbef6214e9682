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
