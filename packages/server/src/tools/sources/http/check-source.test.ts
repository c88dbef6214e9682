import { HttpToolSource, type HttpToolSourceInput } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { createSecretValues, NexusError, parseRequest, systemClock, systemTimers } from '#core';
import { createHttpApis } from './index.ts';

let turns = 0;
const http = createHttpApis({
  ...{ clock: systemClock, known: createSecretValues() },
  timers: {
    ...systemTimers,
    soon() {
      turns += 1;
      return systemTimers.soon();
    },
  },
  secrets: { find: () => null },
});
const tool = { name: 'get_pet', description: 'a pet', path: '/pets/{id}' };

/** What is said of a definition: warnings, or the error of a refusal. */
async function check(changes: object, tools: readonly object[] = [tool]): Promise<string> {
  try {
    const source: HttpToolSourceInput = {
      name: 'pets',
      baseUrl: 'https://pets.example/v1',
      ...changes,
      tools: tools as HttpToolSourceInput['tools'],
    };
    return (await http.check('acme', parseRequest(HttpToolSource, source, 'body'))).join('; ');
  } catch (error) {
    if (error instanceof NexusError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

it('is taken when it can work', async () => {
  expect(await check({})).toBe('');
});

describe('a name that models cannot use', () => {
  it.each([
    ['查询天气', 'get_pets_id'],
    ['get pet!', 'get_pet'],
    ['Größe ändern', 'Gro_e_andern'],
    ['  ', 'get_pets_id'],
    ['x'.repeat(65), 'x'.repeat(64)],
  ])('%s is refused with one that it can [verifies tools.http.definitions]', async (name, near) => {
    expect(await check({}, [{ ...tool, name }])).toMatch(
      new RegExp(`^invalid_request: body: tools\\[0\\].*is no name of a tool: .*A-Z a-z 0-9 _ \\. -.*for instance "${near}"`),
    );
  });

  it('may not be that of an agent', async () => {
    expect(await check({}, [{ ...tool, name: 'agent_x' }])).toMatch(/names with agent_ call agents/);
    expect(await check({}, [{ ...tool, name: 'http_zap' }])).toMatch(/names with http_ are kept for tools of the server itself/);
  });
});

describe('a definition that cannot work is refused', () => {
  const withSchema = (inputSchema: object, more: object = {}) => ({ ...tool, inputSchema, ...more });
  const id = { type: 'object', properties: { id: {} }, required: ['id'] };
  it.each<[string, object, readonly object[], RegExp]>([
    ['no tools', {}, [], /tools: /],
    ['another scheme', { baseUrl: 'ftp://pets.example' }, [tool], /baseUrl: expected an http or https address/],
    [
      'credentials in the address',
      { baseUrl: 'https://a:b@pets.example' },
      [tool],
      /baseUrl: it holds credentials; use auth with secret:NAME/,
    ],
    ['a query in the address', { baseUrl: 'https://pets.example?key=1' }, [tool], /baseUrl: it has a query/],
    ['a name twice', {}, [tool, tool], /tools\[1\] and tools\[0\] are both named get_pet; rename one/],
    ['a header of the connection', { headers: { Host: 'x' } }, [tool], /headers: Host belongs to the connection/],
    ['a header twice', { headers: { A: '1', a: '2' } }, [tool], /headers: names one header twice/],
    ['a path that leads elsewhere', {}, [{ ...tool, path: '/a/../b' }], /path: \. and \.\. lead elsewhere/],
    ['a query in the path', {}, [{ ...tool, path: '/a?x=1' }], /a query goes under query/],
    ['a body of GET', {}, [{ ...tool, body: { type: 'json' } }], /body: GET sends none/],
    [
      'a schema that is none',
      {},
      [withSchema({ type: 'object', properties: { id: { type: 'nonsense' } }, required: ['id'] })],
      /inputSchema is no JSON Schema/,
    ],
    [
      'an argument that the schema does not have',
      {},
      [withSchema({ type: 'object' })],
      /names the argument "id", which inputSchema\.properties does not have/,
    ],
    [
      'a path argument that may be left out',
      {},
      [withSchema({ type: 'object', properties: { id: {} } })],
      /the path needs "id"; name it under inputSchema\.required/,
    ],
    ['an argument that nothing uses', {}, [withSchema({ ...id, properties: { id: {}, more: {} } })], /nothing of the request uses more/],
    ['an unknown field', {}, [{ ...tool, methods: 'GET' }], /methods: unknown field; did you mean "method"\?/],
  ])('with %s [verifies tools.http.definitions]', async (_what, changes, tools, message) => {
    expect(await check(changes, tools)).toMatch(message);
  });

  it('and all that is wrong is told at once', async () => {
    expect(await check({ headers: { Host: 'x' } }, [{ ...tool, body: { type: 'json' } }, tool])).toMatch(
      /Host.*GET sends none.*both named/s,
    );
  });
});

it('is warned of what will not work as it is [verifies tools.http.definitions]', async () => {
  expect(await check({ auth: { type: 'bearer', token: 'secret:PETS' } })).toMatch(
    /^there is no secret PETS that may be sent to pets\.example/,
  );
  expect(await check({ baseUrl: 'http://10.0.0.1' })).toMatch(/^calls fail as long as this holds: 10\.0\.0\.1 is or leads to/);
  expect(await check({ baseUrl: 'http://pets.example', auth: { type: 'bearer', token: 'secret:PETS' } })).toMatch(/in the clear/);
});

it('with 2,000 tools is looked at in turns [verifies tools.http.definitions]', async () => {
  const tools = Array.from({ length: 2_000 }, (_, index) => ({
    ...tool,
    name: `get_${index}`,
    inputSchema: { type: 'object', properties: { id: { type: 'string', description: 'x'.repeat(100) } }, required: ['id'] },
  }));
  turns = 0;
  expect(await check({}, tools)).toBe('');
  expect(turns).toBe(100);
});
