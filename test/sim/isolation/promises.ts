/** What holds of the database once nobody works on it, besides what simulated clusters are held against. */
import { Violation } from '../../../packages/server/src/apps/testing/index.ts';
import type { TurnsDatabase } from './turns.ts';
import { quotas, type World } from './work.ts';

type Look = (kind: string, sql: string) => Promise<void>;

const open = "('queued', 'running', 'waiting')";

export async function checkPromises(database: TurnsDatabase, world: World): Promise<void> {
  /** The query finds what must not be. */
  const none: Look = async (kind, sql) => {
    const found = await database.query(sql);
    if (found.length > 0) throw new Violation(`${kind}: ${JSON.stringify(found.slice(0, 3))}`);
  };
  await checkRuns(none);
  await checkCounts(none);
  await none(
    'definitions: versions are not counted without a gap',
    'select kind, count(*) as versions, max(version) as newest from definitions group by kind having count(*) <> max(version)',
  );
  await none(
    'definitions: a version is as the one before it',
    'select a.kind, a.version from definitions a join definitions b on b.kind = a.kind and b.version = a.version + 1 and b.fingerprint = a.fingerprint',
  );
  await checkSaid(database, world);
}

async function checkRuns(none: Look): Promise<void> {
  await none(
    'session: a run is in one that is gone',
    'select run_id from runs r where not exists (select 1 from sessions s where s.session_id = r.session_id)',
  );
  await none(
    'session: a run goes on in one that is closed',
    `select run_id, r.status from runs r join sessions s on s.session_id = r.session_id
      where s.status = 'closed' and r.status in ${open} and r.cancel_requested is null`,
  );
  await none(
    'session: two runs have one place',
    'select session_id, created_at from runs group by session_id, created_at having count(*) > 1',
  );
  await none(
    'queue: a run waits for its session, in which nothing works',
    `select run_id from runs r where r.status = 'queued' and r.waiting is not null and r.due_at is null and not exists (
      select 1 from runs o where o.session_id = r.session_id and (o.status = 'running' or o.status in ('queued', 'waiting') and o.due_at is not null))`,
  );
  await none(
    'approval: nobody is asked what a run waits for, and it is not due',
    `select run_id from runs r where r.status = 'waiting' and r.due_at is null and not exists (
      select 1 from approvals a where a.run_id = r.run_id and a.status = 'pending')`,
  );
  await none(
    'cancel: a run that rests was asked to, and is not due',
    "select run_id from runs where status in ('queued', 'waiting') and cancel_requested is not null and due_at is null",
  );
  await none(
    'fence: a run that rests has an owner',
    "select run_id, status from runs where lease_owner is not null and status <> 'running'",
  );
}

async function checkCounts(none: Look): Promise<void> {
  const kept = { sessions: 'sessions', idempotencyKeys: 'idempotency_keys', contents: 'contents' } as const;
  for (const [kind, table] of Object.entries(kept)) {
    const counted = `coalesce((select amount from tenant_counts where kind = '${kind}'), 0)`;
    const limit = quotas.tenant[kind as keyof typeof kept]; // a key of the literal above
    await none(
      `quota: ${kind} are counted wrongly, or too many`,
      `select ${counted} as counted, (select count(*) from ${table}) as there from (select 1 as one) as once
        where ${counted} <> (select count(*) from ${table}) or (select count(*) from ${table}) > ${limit}`,
    );
  }
  await none('quota: too many agents', `select count(*) as there from agents having count(*) > ${quotas.tenant.agents}`);
  await none(
    'quota: too many versions of an agent',
    `select name, count(*) as there from agent_versions group by name having count(*) > ${quotas.tenant.agentVersions}`,
  );
  await none(
    'quota: too many approvals',
    `select count(*) as there from approvals where status = 'pending' having count(*) > ${quotas.tenant.approvals}`,
  );
}

/** What callers were told. */
async function checkSaid(database: TurnsDatabase, { said }: World): Promise<void> {
  const events = await database.query("select run_id, seq, data from run_events where type = 'step.started'");
  const there = new Map(events.map(({ run_id, seq, data }) => [Number(JSON.parse(String(data)).step), `${run_id} ${seq}`]));
  const runs = new Set((await database.query('select run_id from runs')).map(({ run_id }) => String(run_id)));
  for (const [step, { runId, seq }] of said.appended)
    if (runs.has(runId) && there.get(step) !== `${runId} ${seq}`)
      throw new Violation(`journal: ${runId} ${seq} was acknowledged, and is not there`);
  for (const step of said.refused) if (there.has(step)) throw new Violation(`journal: ${there.get(step)} was refused, and is there`);
  for (const { runId, epoch, lastSeq, by } of said.claims.values())
    for (const each of said.appended.values())
      if (each.runId === runId && each.epoch < epoch && each.seq > lastSeq)
        throw new Violation(`fence: ${runId} ${each.seq} was written at epoch ${each.epoch}, after ${by} had taken it over at ${epoch}`);
  for (const { run_id, epoch, lease_owner } of await database.query(
    'select run_id, epoch, lease_owner from runs where lease_owner is not null',
  )) {
    const taken = said.claims.get(`${run_id} ${epoch}`)?.by ?? lease_owner;
    if (taken !== lease_owner) throw new Violation(`fence: ${run_id} ${epoch} was given to ${taken}, and ${lease_owner} owns it`);
  }
  const going = await database.query(`select run_id from runs where status in ${open} and cancel_requested is null`);
  for (const { run_id } of going)
    if (said.cancelled.has(String(run_id))) throw new Violation(`cancel: ${run_id} was asked to, and does not know`);
}
