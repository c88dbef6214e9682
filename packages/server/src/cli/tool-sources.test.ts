import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';

let platform: TestPlatform;
let api: Server;
let apiUrl: string;

const paths = {
  '/pets': { get: { operationId: 'listPets' }, post: { operationId: 'addPet', security: [] } },
  '/file': { post: { requestBody: { required: true, content: { 'image/png': {} } } } },
};
const document = () =>
  JSON.stringify({
    openapi: '3.0.0',
    servers: [{ url: '/v1' }],
    security: [{ t: [] }],
    paths,
    components: { securitySchemes: { t: { type: 'http', scheme: 'bearer' } } },
  });

beforeAll(async () => {
  api = createServer((request, response) => {
    if (request.url === '/openapi.json') response.end(document());
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  const address = api.address();
  apiUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  platform = await startTestPlatform({ config: { httpFetch: { allowPrivate: ['127.0.0.1'] } } });
});
afterAll(async () => {
  await platform.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
});

const run = (args: string[], options: Parameters<typeof runCli>[1] = {}) => runCli(['--url', platform.url, 'tools', ...args], options);

it('imports an API from its address, once it was shown and agreed to [verifies tools.openapi.import]', async () => {
  const importing = ['import', 'openapi', `${apiUrl}/openapi.json`, '--name', 'pets'];
  const refused = await run(importing, { typed: ['n'] });
  expect([refused.code, refused.out]).toEqual([0, '']);
  expect(refused.err).toMatch(/pets_listPets +none +GET \/pets.*pets_addPet +once/s);
  expect(refused.err).toMatch(/left out:\n {2}POST \/file: its body is image\/png/);
  expect(refused.err).toMatch(
    /secrets for the configuration of the server: PETS_TOKEN\n.*add these 2 tools as http:pets\? \[y\/N\].*nothing was added/s,
  );
  expect((await run(['sources', '--json'])).out).toContain('"data": []');

  const silent = await run(importing);
  expect([silent.code, silent.err]).toEqual([2, expect.stringContaining('say --yes')]);
  const added = await run(importing, { typed: ['y'] });
  expect(added.out).toMatch(/^http:pets [0-9a-f]{12}, 2 tools\n$/);
  expect(added.err).toContain('warning: there is no secret PETS_TOKEN');
  expect((await run(['list'])).out).toMatch(/pets_listPets +http:pets +none +net\.egress/);
  expect((await run(['sources'])).out).toMatch(/http +pets +2 /);
});

it('shows a definition that can be put again, and removes it', async () => {
  const files = {
    'pets.yaml': 'name: notes\nbaseUrl: https://notes.example\ntools:\n  - { name: notes_get, description: a note, path: "/notes/{id}" }\n',
  };
  expect((await run(['sources', 'put', 'pets.yaml'], { files })).out).toMatch(/^http:notes .*, 1 tool\n$/);
  const shown = (await run(['sources', 'show', 'notes'])).out;
  expect(shown).toContain('baseUrl: https://notes.example');
  expect((await run(['sources', 'put', 'again.yaml'], { files: { 'again.yaml': shown } })).code).toBe(0);
  expect((await run(['sources', 'remove', 'notes'])).out).toBe('notes is removed\n');
  const gone = await run(['sources', 'show', 'notes']);
  expect([gone.code === 0, gone.err]).toEqual([false, expect.stringContaining('there is no http source of tools "notes"')]);
});

it.each([
  [['sources', 'put', 'nothing.yaml'], /nothing\.yaml/],
  [['sources', 'put', 'broken.yaml'], /not valid YAML/],
  [['sources', 'put', 'list.yaml'], /must hold a source of tools/],
  [['sources', 'put', 'cn.yaml'], /for instance "get_a"/],
  [['sources', 'put', 'many.yaml'], /^error: many\.yaml: (?:tools\[\d\]\.\w+: [^;]+; ){7}tools/],
  [['import', 'openapi', 'swagger.json', '--name', 'a', '--yes'], /Swagger 2\.0/],
  [['import', 'openapi', 'openapi.json', '--name', 'a', '--yes'], /names no address of its server.*--base-url/],
  [
    ['import', 'openapi', 'openapi.json', '--name', 'a', '--yes', '--effects', 'listPets=maybe'],
    /expected an operation and none, idempotent or once/,
  ],
  [['import', 'wsdl', 'a', '--name', 'a'], /openapi/],
])('says what is wrong with %j', async (args, message) => {
  const files = {
    'broken.yaml': 'a: [',
    'list.yaml': '- 1',
    'cn.yaml': 'name: cn\nbaseUrl: https://cn.example\ntools: [{ name: 查询, description: x, path: /a }]',
    'many.yaml': `name: many\nbaseUrl: https://a.example\ntools: [${Array.from({ length: 8 }, () => '{ name: a, description: 1, path: /a }').join(', ')}]`,
    'swagger.json': '{"swagger":"2.0"}',
    'openapi.json': document(),
  };
  const { code, err } = await run(args, { files });
  expect(code).not.toBe(0);
  expect(err).toMatch(message);
});
