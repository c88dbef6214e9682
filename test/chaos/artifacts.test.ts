import { expect, it } from 'vitest';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { steadyLease, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** As much as code may print: with what is said of it that is more than a prompt gets. */
const characters = 49_990;

async function ask<T>(url: string, path: string, body?: unknown): Promise<T> {
  const request = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`${url}${path}`, request);
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T; // the caller knows the route
}

onEachDatabase('a result that is kept by a process that is killed', {}, (use) => {
  it('is there with its event or not at all, and once [verifies tools.artifacts.kept tools.artifacts.rows]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', claimsNothing: true, runs: steadyLease });
    const agent = {
      name: 'computing',
      models: ['sim/sim-large'],
      tools: ['code_js', 'artifact_*'],
      policy: { allow: ['code_js', 'artifact_*'] },
    };
    await ask(victim.url, '/v1/agents', agent);
    // The event of a call that names nothing is named so by the holds.
    const points = ['before:tool.completed:undefined', 'after:tool.completed:undefined'];
    const sessions: string[] = [];
    const runs: string[] = [];
    for (const point of points) {
      const sessionId = (await ask<{ id: string }>(victim.url, '/v1/sessions', { agent: 'computing' })).id;
      const code = `console.log(String.fromCharCode(92).repeat(${characters}))`;
      const input = `hold=${point}\n[[sim tools=code_js(code="${code}")]] [[sim say="done"]]`;
      sessions.push(sessionId);
      runs.push((await ask<{ id: string }>(victim.url, '/v1/runs', { sessionId, input })).id);
    }
    await until('holding every run', () => victim.held.size === runs.length);
    await victim.kill();
    const other = await cluster.start({ claimsNothing: true, runs: steadyLease });
    const kept = async (index: number) =>
      (await ask<{ data: { id: string }[] }>(other.url, `/v1/artifacts?sessionId=${sessions[index]}`)).data;
    expect([(await kept(0)).length, (await kept(1)).length]).toEqual([0, 1]);

    await cluster.start({ runs: steadyLease });
    for (const [index, runId] of runs.entries()) {
      const row = await until(`run ${runId} to end`, async () => {
        const found = await runOf(cluster, runId);
        return found !== null && ['completed', 'failed', 'cancelled'].includes(found.status) && found;
      });
      expect(row).toMatchObject({ status: 'completed', output: 'done' });
      const named = (await journalOf(cluster, runId)).flatMap((event) =>
        event.type === 'tool.completed' && event.data.artifact !== undefined ? [event.data.artifact.id] : [],
      );
      expect(named).toHaveLength(1);
      expect((await kept(index)).map(({ id }) => id)).toEqual(named);
      const content = await fetch(`${other.url}/v1/artifacts/${named[0]}/content`);
      expect((await content.text()).match(/\\/g)).toHaveLength(characters);
    }
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});
