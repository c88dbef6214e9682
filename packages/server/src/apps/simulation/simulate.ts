import { runsConfig } from '#runs/config';
import { unlimited } from '#storage';
import { type Driver, openDriver } from '#storage/drivers';
import { createAsking } from './asking.ts';
import { createChance } from './chance.ts';
import { createChecker } from './check.ts';
import { checkBill } from './check-bill.ts';
import { watchCancels } from './check-cancelled.ts';
import { createCountChecks } from './check-counts.ts';
import { checkEnd, checkWork } from './check-end.ts';
import { createFileChecks } from './check-files.ts';
import { checkLeft, watchRemovals } from './check-removed.ts';
import { createChronicle } from './chronicle.ts';
import { createClients } from './clients.ts';
import { createCluster } from './cluster.ts';
import { createContents } from './contents.ts';
import { calm } from './faulty-store.ts';
import { createModelServers } from './models.ts';
import { person } from './person.ts';
import type { Plan } from './plan.ts';
import { createPolicyFolder } from './policies.ts';
import { createReaders } from './readers.ts';
import { selectAll } from './rows.ts';
import { createOutsideWorld } from './tools.ts';
import { Violation } from './violation.ts';
import { createWires } from './wires.ts';
import { createWitness } from './witness.ts';
import { createWorld, type TimelineEntry, type World } from './world.ts';

/** What came of a simulation. The same plan gives the same, to the last byte. */
export interface SimulationOutcome {
  /** Null: everything held. */
  readonly violation: string | null;
  /** SHA-256 of everything that happened, with its time. */
  readonly digest: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly runs: number;
  readonly commits: number;
  readonly faults: number;
  /** What happened, for people; empty unless asked for. */
  readonly lines: readonly TimelineEntry[];
}

const dayMs = 86_400_000;
/** So often is time made to pass until all is cleared away, and so long do nodes have each time to find out and to do so. */
const mostLeaps = 8;
const leapMs = 25_000;

/** Runs a whole cluster through what the plan says and holds it against the invariants. Uses no clock, timer or chance of the machine. */
export async function simulate(plan: Plan, { trace = false }: { readonly trace?: boolean } = {}): Promise<SimulationOutcome> {
  const world = createWorld({ keep: trace });
  const leapt = { byMs: 0 };
  const database = await openDriver({
    url: 'sqlite::memory:',
    ...{ synchronous: 'NORMAL', timeoutMs: 1_000 },
    clock: { now: () => Math.floor(plan.beginsAt + leapt.byMs + world.now), monotonic: () => world.now },
  });
  const simulation = createSimulation(plan, world, database, leapt);
  let violation: string | null = null;
  try {
    await simulation.play();
    await simulation.check();
  } catch (error) {
    violation =
      error instanceof Violation ? error.message : `it broke: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
    world.say('check', violation);
  }
  const runs = await selectAll(database, 'select count(*) as runs from runs');
  simulation.end();
  await database.close();
  return {
    ...{ violation, commits: simulation.commits },
    digest: world.digest(),
    virtualMs: Math.round(world.now),
    events: world.steps,
    runs: Number(runs[0]?.runs ?? 0),
    faults: plan.faults.length,
    lines: world.lines,
  };
}

function createSimulation(plan: Plan, world: World, database: Driver, leapt: { byMs: number }) {
  const chance = createChance(`run/${plan.seed}`);
  const chronicle = createChronicle(world, database);
  const quotas = { ...unlimited, tenant: { ...unlimited.tenant, ...plan.quotas } };
  const checker = createChecker(database, chronicle, createCountChecks(database, quotas), person.tenantId);
  const weather = calm();
  const bus = { cutUntil: plan.hasBus ? 0 : Number.POSITIVE_INFINITY, roughUntil: 0, lost: 0, doubled: 0 };
  const outside = createOutsideWorld(world, plan.tools, chance.fork('tools'), () => witness);
  const policies = createPolicyFolder(
    world,
    plan.faults.some(({ kind }) => kind === 'policy'),
  );
  const contents = createContents(world, plan.contents, chance.fork('contents'));
  const { leaseMs } = plan.settings;
  /** What a node writes while its clock is wrong looks older, or the rest of it, until it has looked at that of the database. */
  const setBackMs = plan.faults.reduce(
    (sum, fault) => sum + (fault.kind === 'clock' || fault.kind === 'leap' ? Math.abs(fault.byMs) : 0),
    0,
  );
  let commits = 0;
  let isClearing = false;
  const surroundings = {
    ...{ world, database, outside, weather, policies, contents, leapt },
    epochMs: plan.beginsAt,
    pace: plan.pace,
    wires: createWires(world, bus, chance.fork('wires')),
    models: createModelServers(world, plan.models, chance.fork('models'), () => witness),
    settings: settingsOf(plan),
    quotas,
    retention: {
      contentsMs: plan.retention.contentsMs * plan.pace,
      sessionsMs: plan.retention.sessionsMs * plan.pace,
      readersMs: 60_000 * plan.pace,
    },
    onCommit: () => {
      commits += 1;
      return checker.afterCommit();
    },
  };
  const cluster = createCluster(plan, chance, surroundings, bus);
  const nodes = () => cluster.live().filter((node) => node.isReady);
  const asking = createAsking({ world, chance: chance.fork('clients'), nodes });
  const readers = createReaders(asking, plan.pace);
  const clients = createClients(asking, readers, plan, { commits: () => chronicle.commits, cancels: watchCancels(chronicle) });
  const { said, askedAt } = clients;
  watchRemovals({
    chronicle,
    world,
    removed: clients.removed,
    keptMs: () => (isClearing ? 0 : surroundings.retention.sessionsMs - setBackMs),
    expires: plan.retention.sessionsMs > 0,
  });
  const files = createFileChecks(database, chronicle, contents.kept);
  const witness = createWitness({ database, chronicle, said, askedAt, forbids: policies.forbids, fail: world.fail });

  /** Whether everything has come to an end, looked at now and then. */
  function watchForEnd(): () => boolean {
    let isOver = false;
    const look = async () => {
      const [open] = await selectAll(
        database,
        "select count(*) as runs from runs where status not in ('completed', 'failed', 'cancelled')",
      );
      const [held] = await selectAll(database, "select count(*) as held from reservations where state = 'open'");
      isOver = open?.runs === 0 && held?.held === 0 && asking.idle;
    };
    const watch = () =>
      void world.after(500 * plan.pace, null, () => {
        look().catch((error: unknown) => world.fail(error));
        watch();
      });
    watch();
    return () => isOver;
  }

  /** What is left of that which was deleted goes in its own time, which is made to pass. */
  async function clearAway(): Promise<void> {
    const { contentsMs, readersMs } = surroundings.retention;
    const kinds = contentsMs < dayMs ? "'run', 'session', 'wanted', 'content', 'leaving'" : "'run', 'session', 'wanted'";
    const isClear = async () => (await selectAll(database, `select 1 from removals where kind in (${kinds}) limit 1`)).length === 0;
    isClearing = true;
    for (let leaps = 0; leaps < mostLeaps && !(await isClear()); leaps++) {
      leapt.byMs += readersMs + (contentsMs < dayMs ? contentsMs : 0);
      await world.run(world.now + leapMs * plan.pace);
    }
    if (!(await isClear())) throw new Violation('liveness: what was deleted is not cleared away');
  }

  /** What a client was told is there is there, unless it was seen to go. */
  function checkStarts(): void {
    for (const [name, runId] of clients.runs)
      if (!chronicle.stories.has(runId)) throw new Violation(`start: ${name} was accepted as ${runId}, which was never there`);
  }

  async function replayAll(known: ReadonlySet<string>): Promise<void> {
    let left = known.size;
    const replay = async (runId: string) => {
      const { matches, divergedAtSeq } = await asking.ask('replay', ({ orchestrator }) => orchestrator.runs.replay(person, runId));
      if (!matches) throw new Violation(`replay: ${runId} diverges at event ${divergedAtSeq}`);
      left -= 1;
    };
    for (const runId of known) replay(runId).catch((error: unknown) => world.fail(error));
    await world.run(world.now + 60_000 * plan.pace, () => left === 0);
    if (left > 0) throw new Violation('replay: no answer');
  }

  return {
    get commits() {
      return commits;
    },
    /** Until everything has ended, or should have. */
    async play() {
      await checker.open();
      cluster.boot();
      clients.begin();
      for (const fault of plan.faults) world.after(fault.at, null, () => cluster.strike(fault, asking));
      await world.run(plan.calmAt);
      world.say('fault', 'all is calm from now on');
      cluster.calmDown();
      const patienceMs = 3 * plan.answerMs + (240_000 + 6 * leaseMs) * plan.pace;
      await world.run(world.now + patienceMs, watchForEnd());
      await clearAway();
    },
    /** Throws {@link Violation}. */
    async check() {
      await checker.everything();
      await files.everything();
      await checkEnd(database);
      const left = readers.waiting();
      if (left.length > 0) throw new Violation(`liveness: readers were not shown the end: ${left.join(', ')}`);
      if (!asking.idle) throw new Violation('liveness: a client still waits for an answer');
      const known = new Set((await selectAll(database, 'select run_id from runs')).map(({ run_id }) => String(run_id)));
      checkWork(chronicle, outside.effects);
      await checkLeft(database, chronicle, surroundings.contents.kept);
      await checkBill(database, chronicle, { billed: surroundings.models.billed, effects: outside.effects });
      checkStarts();
      await replayAll(known);
    },
    end: () => cluster.end(),
  };
}

function settingsOf({ settings: { leaseMs, heartbeatMs, pollMs }, pace }: Plan) {
  return runsConfig.runs.parse({
    ...{ leaseMs: leaseMs * pace, heartbeatMs: heartbeatMs * pace, pollMs: pollMs * pace },
    stream: { busPollMs: 1_000 * pace, localPollMs: 5_000 * pace, logPollMs: 150 * pace },
  });
}
