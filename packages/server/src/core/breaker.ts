/** When something that fails is left alone, and for how long. */
export interface BreakerRules {
  /** So many failures, one after the other with no success between them, … */
  readonly failures: number;
  /** … of which the first is no longer ago than this. */
  readonly windowMs: number;
  /** So long nobody gets through; then one does, and what becomes of it decides for all. */
  readonly openMs: number;
}

/** `epoch` grows with each change of type: what was let through before a change says nothing after it. */
export type BreakerState =
  | { readonly type: 'closed'; readonly epoch: number; readonly failedAt: readonly number[] }
  | { readonly type: 'open'; readonly epoch: number; readonly untilMs: number }
  /** One was let through and has not ended. */
  | { readonly type: 'trying'; readonly epoch: number };

/** What was let through, until its end is told. */
export interface BreakerPass {
  readonly epoch: number;
}

/** What an end says of what was called: that it works, that it does not, or nothing. */
export type BreakerVerdict = 'works' | 'fails' | 'unknown';

export type BreakerAnswer =
  | { readonly type: 'passed'; readonly state: BreakerState; readonly pass: BreakerPass }
  /** `retryAfterMs`: before that nobody gets through. */
  | { readonly type: 'refused'; readonly retryAfterMs: number };

export const closedBreaker: BreakerState = { type: 'closed', epoch: 0, failedAt: [] };

/** While one is let through to try, others ask again after this. */
const tryingMs = 1_000;

/** Whether a call gets through. Pure: whoever keeps the state puts the new one in its place. */
export function askBreaker(state: BreakerState, nowMs: number): BreakerAnswer {
  switch (state.type) {
    case 'closed':
      return { type: 'passed', state, pass: { epoch: state.epoch } };
    case 'open': {
      if (nowMs < state.untilMs) return { type: 'refused', retryAfterMs: state.untilMs - nowMs };
      const epoch = state.epoch + 1;
      return { type: 'passed', state: { type: 'trying', epoch }, pass: { epoch } };
    }
    case 'trying':
      return { type: 'refused', retryAfterMs: tryingMs };
  }
}

/** The state after the end of a call that got through. The same object where nothing changes. */
export function tellBreaker(
  state: BreakerState,
  pass: BreakerPass,
  verdict: BreakerVerdict,
  nowMs: number,
  { failures, windowMs, openMs }: BreakerRules,
): BreakerState {
  if (pass.epoch !== state.epoch || state.type === 'open') return state;
  const epoch = state.epoch + 1;
  if (state.type === 'trying') {
    if (verdict === 'works') return { type: 'closed', epoch, failedAt: [] };
    // One that says nothing leaves the next one to try.
    return { type: 'open', epoch, untilMs: verdict === 'fails' ? nowMs + openMs : nowMs };
  }
  if (verdict === 'unknown' || (verdict === 'works' && state.failedAt.length === 0)) return state;
  if (verdict === 'works') return { ...state, failedAt: [] };
  const failedAt = [...state.failedAt.filter((at) => at > nowMs - windowMs), nowMs];
  return failedAt.length < failures ? { ...state, failedAt } : { type: 'open', epoch, untilMs: nowMs + openMs };
}
