import type { Plan } from './plan.ts';

/** What kind of thing does not hold: a smaller plan is to show the same. */
export function kindOf(violation: string): string {
  return violation.slice(0, Math.max(0, violation.indexOf(':')));
}

export interface ShrinkOptions {
  /** Ends the search with the smallest found so far. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly tries: number; readonly smallest: Plan }) => void;
}

const mostTries = 150;

/**
 * The smallest plan that was found to break the same thing: with fewer faults, fewer conversations, calmer servers. Greedy, as the
 * delta debugging of Zeller and Hildebrandt is in its simplest form; what is left out changes no other draw.
 *
 * @param breaks whether a plan breaks it
 */
export async function shrinkPlan(
  plan: Plan,
  breaks: (plan: Plan) => Promise<boolean>,
  { signal, onProgress }: ShrinkOptions = {},
): Promise<Plan> {
  let smallest = plan;
  let tries = 0;
  for (let isSmaller = true; isSmaller && tries < mostTries; ) {
    isSmaller = false;
    for (const smaller of smallerPlans(smallest)) {
      if (signal?.aborted === true || ++tries > mostTries) break;
      onProgress?.({ tries, smallest });
      if (!(await breaks(smaller))) continue;
      smallest = smaller;
      isSmaller = true;
      break;
    }
  }
  return smallest;
}

const without = <T>(items: readonly T[], index: number) => items.filter((_, at) => at !== index);

/** Plans with one thing less, those that leave out most first. */
function* smallerPlans(plan: Plan): Generator<Plan> {
  const { sessions, faults } = plan;
  if (faults.length > 2) {
    yield { ...plan, faults: faults.slice(0, faults.length / 2) };
    yield { ...plan, faults: faults.slice(faults.length / 2) };
  }
  for (const index of sessions.keys()) if (sessions.length > 1) yield { ...plan, sessions: without(sessions, index) };
  for (const index of faults.keys()) yield { ...plan, faults: without(faults, index) };
  for (const [name, rate] of Object.entries(plan.models)) if (rate > 0) yield { ...plan, models: { ...plan.models, [name]: 0 } };
  for (const [name, rate] of Object.entries(plan.tools)) if (rate > 0) yield { ...plan, tools: { ...plan.tools, [name]: 0 } };
  for (const [at, session] of sessions.entries()) {
    const changed = (messages: typeof session.messages) => ({
      ...plan,
      sessions: sessions.map((each, index) => (index === at ? { ...session, messages } : each)),
    });
    for (const index of session.messages.keys()) if (session.messages.length > 1) yield changed(without(session.messages, index));
    for (const [index, message] of session.messages.entries()) {
      const { cancelAt, forkAt, forkPart: _part, ...calmer } = message;
      if (cancelAt !== undefined || forkAt !== undefined || message.readers > 0 || message.resumes || message.twice)
        yield changed(
          session.messages.map((each, position) => (position === index ? { ...calmer, readers: 0, resumes: false, twice: false } : each)),
        );
    }
  }
  if (plan.wrongByMs.some((ms) => ms !== 0)) yield { ...plan, wrongByMs: plan.wrongByMs.map(() => 0) };
  if (plan.nodes > 1 && faults.every((fault) => !('node' in fault) || fault.node !== plan.nodes - 1))
    yield { ...plan, nodes: plan.nodes - 1, wrongByMs: plan.wrongByMs.slice(0, -1) };
}
