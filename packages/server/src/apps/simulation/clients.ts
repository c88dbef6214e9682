import { isTerminal, type Run } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Asking } from './asking.ts';
import type { Cancels } from './check-cancelled.ts';
import { person } from './person.ts';
import type { MessagePlan, Plan, SessionPlan, TrialPlan } from './plan.ts';
import type { Readers } from './readers.ts';
import { Violation } from './violation.ts';
import type { Said } from './witness.ts';

export interface Clients {
  begin(): void;
  /** Runs that a node said are there, by the name of the message. */
  readonly runs: ReadonlyMap<string, string>;
  readonly sessionOf: ReadonlyMap<string, string>;
  /** Sessions that a node was told to delete. */
  readonly removed: ReadonlySet<string>;
  /** What people said of approvals, from before anybody could hear it. */
  readonly said: Said;
  /** After how many transactions the run of a message was first asked for. */
  askedAt(message: string): number;
}

export interface ClientsOptions {
  readonly commits: () => number;
  readonly cancels: Cancels;
}

const attempts = 60;

/** People and programs that use the cluster as the guide says: under keys, again when nothing comes, and on from where they were. */
export function createClients(asking: Asking, readers: Readers, plan: Plan, { commits, cancels }: ClientsOptions): Clients {
  const { world, chance, ask, once, act, sleep, until } = asking;
  const runs = new Map<string, string>();
  const sessionOf = new Map<string, string>();
  const removed = new Set<string>();
  const said = new Map<string, Set<string>>();
  const asked = new Map<string, number>();

  async function converse(session: SessionPlan): Promise<void> {
    await until(session.at);
    const { session: made } = await ask(`session ${session.name}`, ({ orchestrator }) =>
      orchestrator.sessions.create(
        person,
        {
          agent: session.agent,
          ...(session.budget === undefined ? {} : { budget: session.budget }),
          ...(session.user === undefined ? {} : { user: session.user }),
          ...(session.project === undefined ? {} : { project: session.project }),
        },
        { idempotencyKey: session.name },
      ),
    );
    sessionOf.set(session.name, made.id);
    for (const message of session.messages) act(message.name, () => send(made.id, session, message));
    for (const trial of session.trials) act(`${trial.tool} of ${session.name}`, () => tryOut(made.id, trial));
    const { ends } = session;
    if (ends === undefined) return;
    await until(ends.at);
    world.say('client', `${ends.how} ${session.name}`);
    if (ends.how === 'close')
      return cancels.during(made.id, () =>
        ask(`close ${session.name}`, ({ orchestrator }) => orchestrator.sessions.close(person, made.id)),
      );
    removed.add(made.id);
    for (let isGone = false, tries = 0; !isGone && tries < attempts; tries++) {
      if (tries > 0) await sleep(1_000);
      await cancels.during(made.id, async () => {
        isGone = await ask(`remove ${session.name}`, ({ orchestrator }) => orchestrator.sessions.remove(person, made.id));
      });
    }
  }

  /** Nobody repeats it: it has no key. */
  async function tryOut(sessionId: string, { at, tool, leavesAfterMs }: TrialPlan): Promise<void> {
    await until(at);
    const leaving = new AbortController();
    if (leavesAfterMs !== undefined) world.after(leavesAfterMs, null, () => leaving.abort());
    const request = { sessionId, input: { n: 1 } };
    await once(`try ${tool}`, ({ tools }) => tools.execute(person, tool, request, leaving.signal));
  }

  async function send(sessionId: string, session: SessionPlan, message: MessagePlan): Promise<void> {
    await until(message.at);
    const input = `go ${JSON.stringify(message.script)}`;
    asked.set(message.name, commits());
    const start = () =>
      ask(`run ${message.name}`, ({ orchestrator }) =>
        orchestrator.runs.start(
          person,
          { input, sessionId, agent: session.agent, ...message.more },
          { idempotencyKey: message.name, background: message.background },
        ),
      );
    const [{ run }, other] = await Promise.all([start(), message.twice ? start() : undefined]);
    if (other !== undefined && other.run.id !== run.id) throw new Violation(`start: ${message.name} is ${run.id} and ${other.run.id}`);
    const before = runs.get(message.name);
    if (before !== undefined && before !== run.id) throw new Violation(`start: ${message.name} is ${before} and ${run.id}`);
    runs.set(message.name, run.id);
    world.say('client', `${message.name} is ${run.id}`);
    for (let reader = 0; reader < message.readers; reader++)
      act(`reader of ${message.name}`, () => readers.read(`${message.name}/${reader}`, run.id));
    const { cancelAt, forkAt, forkPart } = message;
    if (cancelAt !== undefined) {
      act(`cancel ${message.name}`, async () => {
        await until(cancelAt);
        await cancels.during(run.id, async () => {
          await ask(`cancel ${message.name}`, ({ orchestrator }) => orchestrator.runs.cancel(person, run.id));
        });
      });
    }
    if (forkAt !== undefined) {
      act(`fork ${message.name}`, async () => {
        await until(forkAt);
        const from =
          forkPart === undefined ? {} : { afterSeq: Math.max(1, Math.round(forkPart * (await look(message.name, run.id)).lastSeq)) };
        const forked = await ask(`fork ${message.name}`, ({ orchestrator }) =>
          orchestrator.runs.fork(person, run.id, from, { idempotencyKey: `fork ${message.name}` }),
        );
        runs.set(`${message.name}/fork`, forked.run.id);
      });
    }
    if (message.resumes) act(`resume ${message.name}`, () => resume(message.name, run.id));
  }

  const look = (name: string, runId: string): Promise<Run> =>
    ask(`look at ${name}`, ({ orchestrator }) => orchestrator.runs.get(person, runId));

  async function resume(name: string, runId: string): Promise<void> {
    for (let resumed = 0; resumed < 3; ) {
      await sleep(3_000 * plan.pace);
      const run = await look(name, runId);
      if (run.status === 'failed' && run.resumable === true) {
        world.say('client', `resumes ${name}: ${run.error?.code}`);
        cancels.resumed(runId);
        await ask(`resume ${name}`, ({ orchestrator }) => orchestrator.runs.resume(person, runId));
        resumed += 1;
      } else if (isTerminal(run.status)) return;
    }
  }

  /** Answers whatever waits for a person, sooner or later. */
  async function answer(): Promise<void> {
    const known = new Set<string>();
    for (;;) {
      await sleep(900 * plan.pace);
      const pending = await ask('approvals', ({ approvals }) => approvals.list(person, { status: 'pending' }, { limit: 200 })).catch(
        () => ({ data: [] }),
      );
      for (const approval of pending.data) {
        if (known.has(approval.id)) continue;
        known.add(approval.id);
        const decision =
          approval.kind === 'unknown_outcome'
            ? chance.pick(['done', 'retry', 'fail'] as const)
            : chance.pick(['approve', 'approve', 'deny'] as const);
        const laterMs = chance.next() * plan.answerMs;
        act(`answer ${approval.id}`, async () => {
          await sleep(laterMs);
          world.say('person', `answers ${decision}`);
          said.set(approval.id, (said.get(approval.id) ?? new Set()).add(decision));
          const request = { decision, ...(decision === 'done' ? { result: 'done, I looked' } : {}) };
          await ask(`answer ${approval.id}`, ({ approvals }) => approvals.answer(person, approval.id, request)).catch((error: unknown) => {
            // What policy does not allow now it may allow later, and a no is always heard.
            if (error instanceof NexusError && error.code === 'policy_denied') known.delete(approval.id);
            throw error;
          });
        });
      }
    }
  }

  return {
    begin() {
      for (const session of plan.sessions) act(session.name, () => converse(session));
      answer().catch((error: unknown) => world.fail(error));
    },
    ...{ runs, removed, sessionOf, said },
    askedAt: (message) => asked.get(message) ?? 0,
  };
}
