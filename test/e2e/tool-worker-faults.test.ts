import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createNexusClient, type DefinedTool, defineTool, serveTools } from '@nexus-agent/sdk';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startTestPlatform, type TestPlatform } from '../../packages/server/src/apps/testing/index.ts';

const open: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of open.splice(0).reverse()) await close();
});

interface Arrival {
  readonly path: string;
  readonly at: number;
  readonly body: string;
}

/** What stands before a server: it passes everything on, or answers by itself, and can cut what is open. */
async function startFront(target: string) {
  const arrivals: Arrival[] = [];
  let own: ((incoming: IncomingMessage, outgoing: ServerResponse) => void) | null = null;
  const server = createServer(async (incoming, outgoing) => {
    let body = '';
    for await (const piece of incoming) body += piece;
    arrivals.push({ path: incoming.url ?? '', at: performance.now(), body });
    if (own !== null) return own(incoming, outgoing);
    const onward = request(`${target}${incoming.url}`, { method: incoming.method, headers: incoming.headers, agent: false }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      answer.on('error', () => outgoing.destroy());
    });
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    onward.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const cut = () => server.closeAllConnections();
  open.push(() => {
    cut();
    return new Promise((resolve) => server.close(resolve));
  });
  return {
    ...{ url: `http://127.0.0.1:${port}`, arrivals, cut },
    streams: () => arrivals.filter(({ path }) => path.endsWith('/stream')),
    reports: () => arrivals.filter(({ path }) => path.endsWith('/reports')).flatMap(({ body }) => JSON.parse(body).reports),
    /** It answers by itself from now on; null passes on again. */
    answerWith(status: number | null, type = 'text/html', text = '<html>be right back</html>') {
      own = status === null ? null : (_incoming, outgoing) => void outgoing.writeHead(status, { 'content-type': type }).end(text);
    },
    refuse() {
      own = (_incoming, outgoing) => void outgoing.destroy();
    },
  };
}

type Front = Awaited<ReturnType<typeof startFront>>;

async function begin(leaseMs = 20_000): Promise<{ nexus: TestPlatform; front: Front }> {
  const nexus = await startTestPlatform({ config: { tools: { workers: { leaseMs } } } });
  open.push(() => nexus.close());
  await nexus.agent('clerk');
  return { nexus, front: await startFront(nexus.url) };
}

function serve(front: Front, tool: DefinedTool, retry = { baseMs: 20, maxMs: 200 }) {
  const heard: unknown[] = [];
  const client = createNexusClient({ baseUrl: front.url, retry });
  const worker = serveTools(client, [tool], { name: 'crm', waitMs: 20_000, onError: (error) => heard.push(error) });
  open.push(() => worker.close({ graceMs: 0 }).catch(() => undefined));
  return { worker, heard };
}

/** A tool that is held until it is let go. */
function heldTool(effects: 'none' | 'once' = 'none') {
  const calls: ((output: unknown) => void)[] = [];
  const execute = () => new Promise<unknown>((resolve) => calls.push(resolve));
  const tool = defineTool({ name: 'held', description: 'for tests', input: { type: 'object' }, effects, execute });
  return { tool, calls, taken: (count: number) => vi.waitFor(() => expect(calls).toHaveLength(count), { timeout: 10_000, interval: 20 }) };
}

const call = '[[sim tools=held()]] [[sim say="{{result}}"]]';
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('what went wrong elsewhere', () => {
  it.each<[string, number, string, string]>([
    ['a page that nothing is here', 404, 'text/html', '<html>no backend</html>'],
    ['a page that it is forbidden', 403, 'text/html', '<html>blocked</html>'],
    ['an error of its own', 500, 'text/plain', 'upstream connect error'],
    ['a page of maintenance as if all were well', 200, 'text/html', '<html>be right back</html>'],
    ['half of a message', 200, 'text/event-stream', 'data: {"type":"wor\n\n'],
  ])(
    'a worker outlives %s from what stands before its server, and what it did is not lost [verifies workers.elsewhere]',
    async (_what, status, type, text) => {
      const { nexus, front } = await begin();
      const held = heldTool('once');
      const { worker, heard } = serve(front, held.tool);
      await worker.ready;
      const runId = await nexus.start({ agent: 'clerk', input: call });
      await held.taken(1);
      front.answerWith(status, type, text);
      front.cut();
      const before = front.arrivals.length;
      held.calls[0]?.('done meanwhile');
      await vi.waitFor(() => expect(front.arrivals.length).toBeGreaterThan(before + 3), { timeout: 10_000 });
      front.answerWith(null);
      expect((await nexus.until(runId, 'completed')).output).toBe('done meanwhile');
      const again = await nexus.start({ agent: 'clerk', input: call });
      await held.taken(2);
      held.calls[1]?.('and again');
      expect((await nexus.until(again, 'completed')).output).toBe('and again');
      if (status !== 200) expect(heard.length).toBeGreaterThan(0);
    },
    60_000,
  );

  it('a worker with a wrong address says so at once [verifies workers.elsewhere]', async () => {
    const { front } = await begin();
    front.answerWith(404);
    const { worker } = serve(front, heldTool().tool);
    await expect(worker.ready).rejects.toMatchObject({ status: 404 });
    await expect(worker.closed).rejects.toMatchObject({ status: 404 });
  });

  it('a worker that is refused for good by the server itself ends, also after it was taken', async () => {
    const { nexus, front } = await begin();
    const held = heldTool();
    const { worker } = serve(front, held.tool);
    await worker.ready;
    const problem = {
      type: 'urn:nexus-agent:error:forbidden',
      title: 'x',
      status: 403,
      detail: 'the key was revoked',
      code: 'forbidden',
      retryable: false,
    };
    front.answerWith(403, 'application/problem+json', JSON.stringify(problem));
    front.cut();
    await expect(worker.closed).rejects.toMatchObject({ code: 'forbidden' });
    expect(await (await fetch(`${nexus.url}/healthz`)).json()).toMatchObject({ status: 'ok' });
  });

  it('a connection that lasted ends the waits that those before it had earned [verifies workers.elsewhere]', async () => {
    const { nexus, front } = await begin();
    const held = heldTool();
    const { worker } = serve(front, held.tool, { baseMs: 40, maxMs: 60_000 });
    await worker.ready;
    vi.spyOn(Math, 'random').mockReturnValue(0.99); // waits are drawn
    const arrived = (count: number) => vi.waitFor(() => expect(front.streams()).toHaveLength(count), { timeout: 20_000, interval: 10 });
    for (let cut = 1; cut <= 6; cut += 1) {
      await pause(60);
      front.cut();
      await arrived(cut + 1);
    }
    const { at: sixth = 0 } = front.streams()[5] ?? {};
    expect((front.streams()[6]?.at ?? 0) - sixth).toBeGreaterThan(1_000); // each wait is longer: one that is refused at once is no storm
    await pause(5_500);
    const startedAt = performance.now();
    front.cut();
    await arrived(8);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    const runId = await nexus.start({ agent: 'clerk', input: call });
    await held.taken(1);
    held.calls[0]?.('well');
    expect((await nexus.until(runId, 'completed')).output).toBe('well');
  }, 60_000);

  it('what is told of a call while the server is away does not pile up [verifies workers.elsewhere]', async () => {
    const { nexus, front } = await begin(1_500); // a heartbeat each half second
    const held = heldTool();
    const { worker } = serve(front, held.tool);
    await worker.ready;
    const runId = await nexus.start({ agent: 'clerk', input: call });
    await held.taken(1);
    front.refuse();
    front.cut();
    await pause(4_000);
    const before = front.reports().length;
    front.answerWith(null);
    await vi.waitFor(() => expect(front.reports().length).toBeGreaterThan(before), { timeout: 5_000 });
    const [first] = front.arrivals.filter(({ path }) => path.endsWith('/reports')).slice(-1);
    expect(JSON.parse(first?.body ?? '{}').reports.filter(({ type }: { type: string }) => type === 'held').length).toBeLessThanOrEqual(1);
    await pause(300);
    for (const done of held.calls) done('in the end');
    expect((await nexus.until(runId, 'completed')).output).toBe('in the end');
  }, 60_000);

  it('what a worker says is whole letters wherever it is cut, and what are none do not come through [verifies workers.elsewhere]', async () => {
    const { nexus, front } = await begin();
    const said = [`a${'😀'.repeat(12_000)}`, `half \ud83d of one`];
    const tool = defineTool({
      ...{ name: 'held', description: 'for tests', input: { type: 'object' }, effects: 'none' },
      execute: (input, { progress }) => {
        const { at, fails } = input as { at: number; fails: boolean }; // as the test has it
        progress(said[at] ?? '');
        if (fails) throw new Error(said[at]);
        return said[at];
      },
    });
    const { worker } = serve(front, tool);
    await worker.ready;
    for (const at of [0, 1])
      for (const fails of [true, false]) {
        const runId = await nexus.start({ agent: 'clerk', input: `[[sim tools=held(at=${at},fails=${fails})]] [[sim say="done"]]` });
        await nexus.until(runId, 'completed');
        const event = (await nexus.events(runId)).find(({ type }) => type === 'tool.completed');
        const output = event !== undefined && 'output' in event.data ? String(event.data.output) : '\ud800';
        expect(output.isWellFormed(), `${at} ${fails}`).toBe(true);
        expect(JSON.stringify(event)).not.toMatch(/\\ud[89a-f]/i);
      }
    for (const report of front.reports()) expect(String(report.message ?? '').isWellFormed() || report.message === said[1]).toBe(true);
  });

  it('workers that were cut off together come back spread, and none twice at a time [verifies workers.elsewhere]', async () => {
    const { nexus, front } = await begin();
    const held = heldTool();
    const workers = Array.from({ length: 40 }, () => serve(front, held.tool, { baseMs: 500, maxMs: 500 }).worker);
    await Promise.all(workers.map(({ ready }) => ready));
    const before = front.streams().length;
    front.cut();
    await vi.waitFor(() => expect(front.streams()).toHaveLength(before + 40), { timeout: 10_000, interval: 20 });
    const at = front
      .streams()
      .slice(before)
      .map((arrival) => arrival.at);
    const busiest = Math.max(...at.map((from) => at.filter((each) => each >= from && each < from + 50).length));
    expect(busiest).toBeLessThan(35);
    await vi.waitFor(async () => expect((await createNexusClient({ baseUrl: nexus.url }).toolWorkers.list()).data).toHaveLength(40), {
      timeout: 5_000,
    });
  }, 30_000);
});
