import { BudgetLimits, BudgetScope, BudgetUnit, BudgetWindow, ChatRequest, dictionary } from '@nexus-agent/protocol';
import { z } from 'zod';
import { NexusError, parseRequest } from '#core';
import { type Chance, createChance } from './chance.ts';
import { Script, type Turn } from './script.ts';

/** Whoever has a plan of somebody else's may want to see what it does: it ends, and prints no line of its own making. */
const mostMs = 10 * 366 * 86_400_000;
const ms = z.number().min(0).max(mostMs);
/** When something begins: the world is busy for some seconds, and whoever looks at it does not wait for years. */
const when = z.number().min(0).max(3_600_000);
const setBy = z.number().min(-mostMs).max(mostMs);
const name = z
  .string()
  .max(1_000)
  .regex(/^\P{C}*$/u, { error: 'expected a text of one line' });
const rate = z.number().min(0).max(1);
const node = z.int().min(0).max(9);

const MessagePlan = z.strictObject({
  name,
  at: when,
  script: Script,
  more: ChatRequest.pick({ whileBusy: true, deadlineMs: true, budget: true }),
  background: z.boolean(),
  cancelAt: when.optional(),
  /** It is tried again once it has failed and can be resumed. */
  resumes: z.boolean(),
  /** A run is forked from it at this time. */
  forkAt: when.optional(),
  /** After this part of the events that it has by then; left out: after all of them. */
  forkPart: rate.optional(),
  readers: z.int().min(0).max(10),
  /** The client sends it twice at once, under one key. */
  twice: z.boolean(),
});
export type MessagePlan = z.infer<typeof MessagePlan>;

/** Somebody tries a tool out, without a run. */
const TrialPlan = z.strictObject({
  at: when,
  tool: z.enum(['look', 'put', 'pay']),
  /** Nobody waits for it any more after so long. */
  leavesAfterMs: ms.optional(),
});
export type TrialPlan = z.infer<typeof TrialPlan>;

/** What clients do in one conversation. */
const SessionPlan = z.strictObject({
  name,
  at: when,
  agent: z.enum(['helper', 'careful', 'second']),
  budget: BudgetLimits.optional(),
  user: name.optional(),
  project: name.optional(),
  messages: z.array(MessagePlan).max(100),
  trials: z.array(TrialPlan).max(100).default([]),
  ends: z.strictObject({ at: when, how: z.enum(['close', 'remove']) }).optional(),
});
export type SessionPlan = z.infer<typeof SessionPlan>;

const Fault = z.discriminatedUnion('kind', [
  z.strictObject({ at: when, kind: z.literal('crash'), node, downMs: ms }),
  z.strictObject({ at: when, kind: z.literal('stop'), node, downMs: ms }),
  z.strictObject({ at: when, kind: z.literal('pause'), node, ms }),
  z.strictObject({ at: when, kind: z.literal('clock'), node, byMs: setBy }),
  /** The database says nothing; `node` null: to nobody. */
  z.strictObject({ at: when, kind: z.literal('silence'), node: node.nullable(), ms }),
  /** It refuses some requests, and some of its answers are lost. */
  z.strictObject({ at: when, kind: z.literal('rough'), node: node.nullable(), ms, lost: rate, refused: rate }),
  z.strictObject({ at: when, kind: z.literal('bus'), ms, lost: rate, doubled: rate }),
  /** No node hears of another. */
  z.strictObject({ at: when, kind: z.literal('cut'), ms }),
  /** The operator forbids a tool, for so long. */
  z.strictObject({ at: when, kind: z.literal('policy'), tool: name, ms }),
  /** The clock of the database is set, and each node finds out for itself. */
  z.strictObject({ at: when, kind: z.literal('leap'), byMs: ms }),
  z.strictObject({ at: when, kind: z.literal('limit'), scope: BudgetScope, unit: BudgetUnit, window: BudgetWindow, limit: z.int().min(0) }),
]);
export type Fault = z.infer<typeof Fault>;

/** So long do people take at most, of what the pace makes of a second: there is an end to wait for. */
const mostAnswerMs = 1_000_000;

/** Everything about a simulation that is decided before it begins. Times are milliseconds of the world. */
const PlanFields = z.strictObject({
  seed: name,
  nodes: z.int().min(1).max(9),
  wrongByMs: z.array(setBy).max(9),
  hasBus: z.boolean(),
  settings: z
    .strictObject({ leaseMs: ms.min(500).max(3_600_000), heartbeatMs: ms.min(50), pollMs: ms.min(50).max(3_600_000) })
    .refine(({ leaseMs, heartbeatMs }) => heartbeatMs * 2 <= leaseMs, { path: ['heartbeatMs'], error: 'must be at most half of leaseMs' }),
  /** So likely is it that a server does so. */
  models: z.strictObject({ refuse: rate, cut: rate, stall: rate, wrongAccount: rate, ignoreLimit: rate, late: rate.default(0) }),
  tools: z.strictObject({ fail: rate, slow: rate, hang: rate }),
  contents: z.strictObject({ refused: rate, lost: rate, slow: rate }).default({ refused: 0, lost: 0, slow: 0 }),
  /** How many of each a tenant may have; the rest is not bounded. */
  quotas: z.partialRecord(z.enum(['sessions', 'queuedRuns', 'approvals', 'files', 'contents']), z.int().min(1)).default({}),
  /** How long sessions are kept in which nothing happens (0: for ever), and contents that no file has. */
  retention: z.strictObject({ sessionsMs: ms, contentsMs: ms }).default({ sessionsMs: 0, contentsMs: 86_400_000 }),
  /** What the wall clock says when the world begins: milliseconds since 1970. */
  beginsAt: z
    .int()
    .min(0)
    .max(Date.UTC(2100, 0, 1)),
  /** So many times as long as usual takes whatever nodes do now and then, so that weeks can be afforded. */
  pace: z.number().min(1).max(100_000),
  /** How long people take to answer, at most. */
  answerMs: ms,
  sessions: z.array(SessionPlan).max(1_000),
  faults: z.array(Fault).max(1_000),
  /** Faults end then; what is still open has to end soon after. */
  calmAt: when,
});
const Plan = PlanFields.refine(({ answerMs, pace }) => answerMs <= mostAnswerMs * pace, {
  path: ['answerMs'],
  error: `must be at most ${mostAnswerMs} times the pace`,
});
export type Plan = z.infer<typeof Plan>;

/** Reads a plan as JSON, alone or in what `nexus sim` printed of it, as text or as JSON. Throws `invalid_request` for what is none. */
export function parsePlan(text: string): Plan {
  return parseRequest(Plan, readPlanJson(text), 'plan');
}

function readPlanJson(text: string): unknown {
  const [json = text] = /^\{.*/ms.exec(text) ?? [];
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && 'plan' in value ? value.plan : value;
  } catch (cause) {
    throw new NexusError('invalid_request', 'a plan is JSON, as a failing simulation prints it', { cause });
  }
}

const dayMs = 86_400_000;
const midMonth = Date.UTC(2026, 0, 15, 22, 0, 0);
/** A day and a month end while it runs. */
const lastMinute = Date.UTC(2026, 0, 31, 23, 59, 45);

/** Everybody does their worst in some simulations and nothing in others: what always happens hides what needs quiet. */
export function makePlan(seed: string): Plan {
  const chance = createChance(`plan/${seed}`);
  const busy = chance.fork('shape');
  const calmAt = busy.int(8, 45) * 1_000;
  const nodes = busy.int(2, 5);
  const isLong = busy.hits(0.1);
  const upTo = (most: number) => (busy.hits(0.5) ? busy.next() * most : 0);
  const keeping = makeKeeping(chance.fork('keeping'));
  // Where questions wait for room, and people take weeks for each, an end is too far to be looked for.
  const isLate = isLong && keeping.quotas.approvals === undefined;
  const rollout = makeRollout(nodes, calmAt, chance.fork('rollout'));
  return {
    seed,
    nodes,
    wrongByMs: Array.from({ length: nodes }, () => (busy.hits(0.3) ? busy.int(-90_000, 90_000) : busy.int(-40, 40))),
    hasBus: busy.hits(0.8),
    settings: busy.pick([
      { leaseMs: 3_000, heartbeatMs: 500, pollMs: 500 },
      { leaseMs: 1_000, heartbeatMs: 200, pollMs: 200 },
      { leaseMs: 10_000, heartbeatMs: 3_000, pollMs: 1_000 },
    ]),
    models: {
      refuse: upTo(0.3),
      cut: upTo(0.2),
      stall: upTo(0.05),
      wrongAccount: upTo(0.2),
      ignoreLimit: upTo(0.1),
      late: makeLateness(chance.fork('late')),
    },
    tools: { fail: upTo(0.3), slow: upTo(0.3), hang: upTo(0.1) },
    ...keeping,
    beginsAt: busy.pick([midMonth, lastMinute]),
    ...makeTimes(isLate, busy),
    sessions: Array.from({ length: busy.int(2, 8) }, (_, index) => {
      const session = makeSession(`s${index}`, calmAt, chance.fork(`session${index}`));
      return rollout.length > 0 ? watched(session) : session;
    }),
    faults: [...makeFaults(nodes, calmAt, chance.fork('faults')), ...rollout, ...makeWrongDay(nodes, calmAt, chance.fork('day'))].sort(
      (a, b) => a.at - b.at,
    ),
    calmAt,
  };
}

const makeLateness = (chance: Chance) => (chance.hits(0.3) ? chance.next() * 0.1 : 0);

/** Days and weeks in which people take their time are simulated with fewer signs of life. */
function makeTimes(isLong: boolean, chance: Chance): Pick<Plan, 'pace' | 'answerMs'> {
  if (!isLong) return { pace: 1, answerMs: chance.pick([2_000, 20_000, 60_000]) };
  const answerMs = chance.pick([3_600_000, 3 * dayMs, 14 * dayMs]);
  return { pace: answerMs > 7 * dayMs ? 2_000 : 400, answerMs };
}

/** What is kept, how much of it and for how long. A commit may take half of `contentsMs` to name what was put before it. */
function makeKeeping(chance: Chance): Pick<Plan, 'contents' | 'quotas' | 'retention'> {
  const upTo = (most: number) => (chance.hits(0.5) ? chance.next() * most : 0);
  const quotas = dictionary({
    sessions: chance.int(2, 6),
    queuedRuns: chance.int(1, 3),
    approvals: chance.int(1, 3),
    files: chance.int(2, 8),
    contents: chance.int(2, 8),
  });
  return {
    contents: { refused: upTo(0.2), lost: upTo(0.2), slow: upTo(0.2) },
    quotas: Object.fromEntries(Object.entries(quotas).filter(() => chance.hits(0.15))),
    retention: chance.hits(0.25) ? { sessionsMs: chance.int(5_000, 40_000), contentsMs: 240_000 } : { sessionsMs: 0, contentsMs: dayMs },
  };
}

function makeSession(name: string, calmAt: number, chance: Chance): SessionPlan {
  const agent = chance.weighted({ helper: 5, careful: 3, second: 1 });
  const at = chance.int(0, calmAt / 2);
  const messages = Array.from({ length: chance.int(1, 4) }, (_, index) => makeMessage(`${name}m${index}`, at, calmAt, agent, chance));
  return {
    ...{ name, at, agent, messages, trials: makeTrials(at, calmAt, chance.fork('trials')) },
    ...(chance.hits(0.6) ? { user: `u${chance.int(1, 2)}` } : {}),
    ...(chance.hits(0.4) ? { project: `p${chance.int(1, 2)}` } : {}),
    ...(chance.hits(0.3) ? { budget: { costMicroUsd: chance.int(500, 20_000) } } : {}),
    ...(chance.hits(0.15) ? { ends: { at: chance.int(at, calmAt), how: chance.pick(['close', 'remove'] as const) } } : {}),
  };
}

function makeTrials(from: number, calmAt: number, chance: Chance): TrialPlan[] {
  if (!chance.hits(0.3)) return [];
  return Array.from({ length: chance.int(1, 3) }, () => ({
    at: chance.int(from, calmAt),
    tool: chance.pick(['look', 'put', 'pay'] as const),
    ...(chance.hits(0.2) ? { leavesAfterMs: chance.int(1, 500) } : {}),
  }));
}

function makeMessage(name: string, from: number, calmAt: number, agent: SessionPlan['agent'], chance: Chance): MessagePlan {
  const at = chance.int(from, calmAt);
  const whileBusy = chance.pick([undefined, undefined, 'queue', 'reject', 'interrupt', 'parallel'] as const);
  return {
    ...{ name, at },
    script: makeScript(name, agent === 'helper' ? 1 : 0, chance),
    more: {
      ...(whileBusy === undefined ? {} : { whileBusy }),
      ...(chance.hits(0.1) ? { deadlineMs: chance.int(500, 30_000) } : {}),
      ...(chance.hits(0.2) ? { budget: { costMicroUsd: chance.int(100, 5_000), toolCalls: chance.int(1, 6) } } : {}),
    },
    background: chance.hits(0.5),
    ...(chance.hits(0.2) ? { cancelAt: at + chance.int(0, 10_000) } : {}),
    resumes: chance.hits(0.5),
    ...(chance.hits(0.1) ? { forkAt: at + chance.int(500, 15_000), ...makeForkPart(chance.fork(`fork of ${name}`)) } : {}),
    readers: chance.int(0, 2),
    twice: chance.hits(0.15),
  };
}

const makeForkPart = (chance: Chance) => (chance.hits(0.6) ? { forkPart: chance.next() } : {});

function makeScript(name: string, depth: number, chance: Chance): Script {
  const turns: Turn[] = Array.from({ length: chance.int(0, 3) }, (_, turn) => ({
    say: chance.hits(0.5) ? 0 : chance.int(1, 30),
    calls: Array.from({ length: chance.int(1, 3) }, (_, call) => {
      if (depth > 0 && chance.hits(0.15))
        return { name: 'agent_second', input: { task: JSON.stringify(makeScript(`${name}c${turn}${call}`, 0, chance)) } };
      return { name: chance.pick(['look', 'put', 'pay', 'note'] as const), input: { n: chance.int(1, 9) } };
    }),
  }));
  return { name, turns: [...turns, { say: chance.int(1, 80), calls: [] }] };
}

function makeFaults(nodes: number, calmAt: number, chance: Chance): Fault[] {
  const weights = {
    ...{ crash: 3, stop: 1, pause: 3, clock: 1, silence: 2, rough: 3, bus: 1, cut: 1, limit: 4, policy: 2, leap: 0.3 },
  };
  const faults = Array.from({ length: chance.int(0, 12) }, (): Fault => {
    const at = chance.int(0, calmAt);
    const index = chance.int(0, nodes - 1);
    const some = chance.hits(0.6) ? index : null;
    switch (chance.weighted(weights)) {
      case 'crash':
        return { at, kind: 'crash', node: index, downMs: chance.int(10, 8_000) };
      case 'stop':
        return { at, kind: 'stop', node: index, downMs: chance.int(10, 8_000) };
      case 'pause':
        return { at, kind: 'pause', node: index, ms: chance.int(50, 12_000) };
      case 'clock':
        return { at, kind: 'clock', node: index, byMs: chance.hits(0.2) ? chance.int(-3, 3) * dayMs : chance.int(-60_000, 60_000) };
      case 'silence':
        return { at, kind: 'silence', node: some, ms: chance.int(50, 15_000) };
      case 'rough':
        return { at, kind: 'rough', node: some, ms: chance.int(500, 15_000), lost: chance.next() * 0.4, refused: chance.next() * 0.4 };
      case 'bus':
        return { at, kind: 'bus', ms: chance.int(500, 15_000), lost: chance.next(), doubled: chance.next() };
      case 'cut':
        return { at, kind: 'cut', ms: chance.int(500, 15_000) };
      case 'policy':
        return { at, kind: 'policy', tool: chance.pick(['pay', 'put', 'note']), ms: chance.int(1_000, 40_000) };
      case 'leap':
        return { at, kind: 'leap', byMs: chance.int(1, 72) * 3_600_000 };
      default:
        return { at: chance.hits(0.5) ? at : 0, kind: 'limit', ...makeLimit(chance) };
    }
  });
  return faults;
}

/**
 * A new version is brought out, perhaps more than once: one node after another drains and comes back, while runs go from hand to hand. The
 * messages of one that drains may be the first to stop.
 */
function makeRollout(nodes: number, calmAt: number, chance: Chance): Fault[] {
  if (!chance.hits(0.2)) return [];
  const from = chance.int(0, calmAt / 2);
  const stepMs = chance.int(500, 4_000);
  const isHeard = chance.hits(0.3);
  return Array.from({ length: nodes * chance.int(1, 3) }, (_, index) => from + index * stepMs).flatMap((at, index): Fault[] => [
    ...(isHeard ? [] : [{ at, kind: 'cut' as const, ms: chance.int(200, 2_000) }]),
    { at, kind: 'stop', node: index % nodes, downMs: chance.int(10, stepMs) },
  ]);
}

/** Somebody sets the clock of a machine to another day. */
function makeWrongDay(nodes: number, calmAt: number, chance: Chance): Fault[] {
  if (!chance.hits(0.12)) return [];
  return [{ at: chance.int(0, calmAt), kind: 'clock', node: chance.int(0, nodes - 1), byMs: chance.int(1, 3) * dayMs }];
}

/** People look on when something may go wrong, and texts are long enough to be cut off by it. */
function watched(session: SessionPlan): SessionPlan {
  const longer = (turn: Turn): Turn => ({ ...turn, say: 20 + 3 * turn.say });
  const messages = session.messages.map((message) => {
    const script = { ...message.script, turns: message.script.turns.map(longer) };
    return { ...message, script, readers: Math.max(2, message.readers) };
  });
  return { ...session, messages };
}

function makeLimit(chance: Chance): Pick<Extract<Fault, { kind: 'limit' }>, 'scope' | 'unit' | 'window' | 'limit'> {
  const scopes = ['tenant:default', 'agent:helper', 'user:u1', 'user:u2', 'user:*', 'project:p1', 'project:p2'];
  const [kind, id = ''] = chance.pick(scopes).split(':');
  const unit = chance.weighted({ costMicroUsd: 4, tokens: 2, toolCalls: 1, wallMs: 1 });
  const most = { costMicroUsd: 60_000, tokens: 60_000, toolCalls: 20, wallMs: 200_000 }[unit];
  return {
    scope: BudgetScope.parse({ kind, id }),
    unit,
    window: chance.pick(['total', 'day', 'month'] as const),
    limit: Math.floor(most * (chance.hits(0.2) ? chance.next() * 0.05 : chance.next())),
  };
}
