import type { ModelRequest } from '#llm';
import type { Driver } from '#storage/drivers';
import type { Chronicle, Story, StoryEvent } from './chronicle.ts';
import { selectAll } from './rows.ts';
import { checkTold } from './told.ts';
import { Violation } from './violation.ts';

/** What people said, before anybody heard it: by approval. */
export type Said = ReadonlyMap<string, ReadonlySet<string>>;

export interface WitnessOptions {
  readonly database: Driver;
  readonly chronicle: Chronicle;
  readonly said: Said;
  /** After how many transactions a client first asked for the run of this message. */
  readonly askedAt: (message: string) => number;
  /** Whether the operator's policies of this version forbid a tool. */
  readonly forbids: (policyVersion: string, tool: string) => boolean;
  /** Hears of what is found out a little later. */
  readonly fail: (error: unknown) => void;
}

/** Looks at what reaches the world outside, at the moment at which it does. Throws {@link Violation}. */
export interface Witness {
  /** A server of a model was asked. */
  asked(request: ModelRequest): void;
  /** A tool began to work. */
  worked(runId: string, callId: string, attempt: number): void;
}

type Data = Readonly<Record<string, unknown>>;

/** Watches announcements as they are committed, and holds what follows against them. */
export function createWitness({ database, chronicle, said, askedAt, forbids, fail }: WitnessOptions): Witness {
  const announced = new Set<string>();
  /** Attempts of a call of a model that were announced, and those that were sent. */
  const models = new Map<string, { announced: number; sent: number }>();
  const over = new Map<string, 'whole' | 'cut'>();
  const begun = new Set<string>();

  /** Throws unless the event says by which decision it may be, and that is on record and allows it. */
  async function checkDecision(story: Story, { seq, type, data }: StoryEvent): Promise<void> {
    const decision = data.decision as { readonly id: string; readonly policyVersion: string } | undefined; // as the protocol has it
    const [recorded] = await selectAll(
      database,
      "select json_extract(record, '$.effect') as effect from policy_decisions where decision_id = ?",
      decision?.id ?? '',
    );
    const at = `event ${seq} of ${story.runId} (${type})`;
    const effect = recorded?.effect ?? 'nothing';
    if (effect !== 'allow') throw new Violation(`policy: ${at} was let through by ${decision?.id ?? 'nobody'}, which says ${effect}`);
    if (type === 'tool.started' && decision !== undefined && forbids(decision.policyVersion, String(data.name)))
      throw new Violation(`policy: ${at} began ${data.name} under ${decision.policyVersion}, which forbids it`);
  }

  /** A run of a sub-agent is what the call of another run began. */
  async function checkBeginning(story: Story, event: StoryEvent): Promise<void> {
    if (story.parentRunId === null) return checkDecision(story, event);
    const calls = chronicle.stories.get(story.parentRunId)?.events ?? [];
    if (!calls.some(({ type, data }) => type === 'tool.started' && data.childRunId === story.runId))
      throw new Violation(`policy: ${story.runId} was begun by no call of ${story.parentRunId}`);
  }

  /** Each call is announced with the decision that lets it, its reservation, and the word of a person where one is needed. */
  async function announce(story: Story, event: StoryEvent): Promise<void> {
    const { seq, type, data } = event;
    const call = String(data.callId);
    if (over.has(call)) throw new Violation(`work: ${call} of ${story.runId} was begun again after its outcome`);
    const at = `event ${seq} of ${story.runId} (${type})`;
    await checkDecision(story, event);
    // A sub-agent pays for itself: its call is settled at once.
    if (data.reservationId !== undefined && data.childRunId === undefined) {
      const [held] = await selectAll(database, 'select state from reservations where reservation_id = ?', String(data.reservationId));
      if (held?.state !== 'open')
        throw new Violation(`budget: ${at} has the reservation ${data.reservationId}, which is ${held?.state ?? 'not there'}`);
    }
    announced.add(`${call} ${data.attempt}`);
    if (type === 'model.started') {
      const counts = models.get(call) ?? { announced: 0, sent: 0 };
      models.set(call, { ...counts, announced: counts.announced + 1 });
    } else checkAllowed(story, data, at);
  }

  /** What may only be done once, or only with a person's word, has it. */
  function checkAllowed(story: Story, data: Data, at: string): void {
    const earlier = story.events.filter((event) => event.data.callId === data.callId).slice(0, -1);
    const attempts = earlier.filter(({ type }) => type === 'tool.started');
    const answers = earlier.filter(({ type }) => type === 'approval.decided').map((event) => event.data);
    if (
      story.agent === 'careful' &&
      data.name === 'pay' &&
      !answers.some(({ kind, decision }) => kind === 'tool_call' && decision === 'approve')
    )
      throw new Violation(`approval: ${at} began ${data.name}, and nobody had approved it`);
    const retries = answers.filter(({ kind, decision }) => kind === 'unknown_outcome' && decision === 'retry');
    if (data.effects === 'once' && attempts.length > retries.length)
      throw new Violation(`approval: ${at} is attempt ${attempts.length + 1} of ${data.name}, with ${retries.length} retries allowed`);
  }

  /** The journal says of people what they said, and of deadlines what was to be. */
  function checkAnswer(story: Story, { seq, data }: StoryEvent): void {
    const { approvalId, decision, decidedBy } = data;
    const asked = story.events.find(({ type, data: other }) => type === 'approval.requested' && other.approvalId === approvalId);
    const right: ReadonlySet<unknown> =
      decidedBy === 'timeout' ? new Set([asked?.data.defaultDecision]) : (said.get(String(approvalId)) ?? new Set());
    if (!right.has(decision)) {
      const heard = right.size === 0 ? 'nobody said anything' : `it was ${[...right].join(', ')}`;
      throw new Violation(`approval: event ${seq} of ${story.runId} says ${decision} by ${decidedBy}, and ${heard}`);
    }
  }

  /** A call without a run is in no journal: what lets it is on record all the same. */
  async function checkAlone(callId: string): Promise<void> {
    const decisions = await selectAll(
      database,
      "select json_extract(record, '$.effect') as effect from policy_decisions where call_id = ?",
      callId,
    );
    if (!decisions.some(({ effect }) => effect === 'allow'))
      throw new Violation(`policy: ${callId} began, and nothing on record allows it`);
    if (begun.has(callId)) throw new Violation(`work: ${callId} began twice`);
    begun.add(callId);
  }

  async function hear(story: Story, event: StoryEvent): Promise<void> {
    // What a fork begins with was let, done and answered in its original.
    if (event.seq <= 1 + Number(story.events[0]?.data.copied ?? 0)) return;
    const { type, data } = event;
    switch (type) {
      case 'run.created':
        return checkBeginning(story, event);
      case 'model.started':
      case 'tool.started':
        return announce(story, event);
      case 'model.completed':
      case 'tool.completed': {
        const call = String(data.callId);
        if (over.has(call)) throw new Violation(`work: ${call} of ${story.runId} has two outcomes`);
        checkChild(chronicle, story, data);
        over.set(call, data.finishReason === 'length' ? 'cut' : 'whole');
        return;
      }
      case 'approval.decided':
        return checkAnswer(story, event);
      case 'run.resumed':
        // What a budget cut short is asked for again when a person has the run go on.
        for (const { data: other } of story.events) if (over.get(String(other.callId)) === 'cut') over.delete(String(other.callId));
        return;
      default:
    }
  }
  chronicle.listen({ event: hear });

  return {
    asked({ idempotencyKey, messages }) {
      const story = chronicle.ofCall(idempotencyKey);
      const counts = models.get(idempotencyKey);
      if (story === undefined || counts === undefined)
        throw new Violation(`work: a model is asked under ${idempotencyKey}, which no journal announced`);
      if (over.has(idempotencyKey)) throw new Violation(`work: ${idempotencyKey} of ${story.runId} is asked after its outcome`);
      counts.sent += 1;
      if (counts.sent > counts.announced)
        throw new Violation(
          `work: ${idempotencyKey} of ${story.runId} is asked ${counts.sent} times, and was announced ${counts.announced} times`,
        );
      checkTold(chronicle, story, messages, askedAt);
    },
    worked(runId, callId, attempt) {
      if (runId === callId) return void checkAlone(callId).catch(fail);
      const key = `${callId} ${attempt}`;
      if (!announced.has(key)) throw new Violation(`work: attempt ${attempt} of ${callId} of ${runId} began, and no journal announced it`);
      if (begun.has(key)) throw new Violation(`work: attempt ${attempt} of ${callId} of ${runId} began twice`);
      begun.add(key);
    },
  };
}

/** What a run is told of a sub-agent that did its work is what became of that. */
function checkChild({ stories }: Chronicle, { runId, events }: Story, { callId, status }: Data): void {
  const begun = events.find(({ type, data }) => type === 'tool.started' && data.callId === callId && data.childRunId !== undefined);
  if (status !== 'ok' || begun === undefined) return;
  const child = stories.get(String(begun.data.childRunId));
  if (child?.status !== 'completed')
    throw new Violation(`work: ${runId} is told that ${begun.data.childRunId} did its work, which is ${child?.status ?? 'not there'}`);
}
