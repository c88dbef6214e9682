import { afterEach, expect, it } from 'vitest';
import { startFakeMcpServer, toolOf } from './mcp-server.testkit.ts';
import { createRows, definitionOf, startServers, tenant } from './servers.testkit.ts';

const never = new AbortController().signal;
const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** Two nodes of one database; the second is late with each write from the given one on, until it is let go. */
async function twoNodes(lateFrom: number) {
  const server = await startFakeMcpServer();
  const store = createRows();
  const written: unknown[] = [];
  const kept = store.putToolSource;
  store.putToolSource = async (row, before) => {
    const isPut = await kept(row, before);
    if (isPut) written.push((row.content as { pins: unknown }).pins);
    return isPut;
  };
  const held = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  let writes = 0;
  const late: typeof store = {
    ...store,
    async putToolSource(row, before) {
      if (++writes >= lateFrom) {
        arrived.resolve();
        await held.promise;
      }
      return store.putToolSource(row, before);
    },
  };
  const one = startServers({ store });
  const two = startServers({ store: late });
  open.push(
    () => server.close(),
    () => one.close(),
    () => two.close(),
  );
  const put = (servers: typeof one) => servers.administration.put(tenant, 'fake', definitionOf(server.url), never);
  return { server, written, one, two, put, arrived: arrived.promise, letGo: held.resolve };
}

it.each([
  ['before it was seen', 1],
  ['while it was looked at', 2],
])('keeps what was approved of a server that another node adds, too, %s [verifies tools.mcp.pins]', async (_when, lateFrom) => {
  const { server, written, one, two, put, arrived, letGo } = await twoNodes(lateFrom);
  const second = put(two);
  await arrived;
  server.tools = [toolOf('echo', { description: 'as a person approved it' })];
  await put(one);
  server.tools = [toolOf('echo', { description: 'other' })];
  letGo();
  expect(await second).toMatchObject({ state: 'changed', tools: [{ tool: 'echo', state: 'changed' }] });
  const approved = written.findIndex((pins) => pins !== null);
  expect(written.slice(approved)).toEqual(
    written.slice(approved).map(() => [expect.objectContaining({ description: 'as a person approved it' })]),
  );
  expect(await one.service.list(tenant)).toEqual([]); // it lists otherwise than it was approved
});
