import type { JournalEvent, RunId } from '@nexus-agent/protocol';
import type { LedgerOutcome } from '#ledger';
import type { RunState } from '#runs/journal';
import { commitProposal, type Engine, type Proposal, type RunFence } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import type { CommitResult } from '#storage';
import type { Ownership } from './ownership.ts';
import type { Patience } from './patience.ts';
import type { RunSpans } from './spans.ts';
import { type Unheard, whatBecame } from './unheard.ts';

export interface RunWriterOptions {
  readonly engine: Engine;
  readonly fence: RunFence;
  readonly channel: LocalChannel;
  readonly spans: RunSpans;
  readonly patience: Patience;
  readonly ownership: Ownership;
}

/** The one place where a driven run is written, and where its state moves on. */
export class RunWriter {
  readonly #options: RunWriterOptions;
  #state: RunState;
  #next: RunId | null = null;

  constructor(options: RunWriterOptions, state: RunState) {
    this.#options = options;
    this.#state = state;
  }

  /** The run that is due since this one left the session. */
  get next(): RunId | null {
    return this.#next;
  }

  get state(): RunState {
    return this.#state;
  }

  /**
   * Writes under the fence, folds what was written and tells the followers. While the store does not answer it is asked again, and
   * what it had written unheard counts as written. Where the answer came so late that the run may be another's by then, it is looked up:
   * what was announced is not to be begun by both. Throws what the store throws in the end; the state is then as before.
   */
  async commit(proposal: Proposal): Promise<CommitResult> {
    const { engine, fence, channel, spans, patience, ownership } = this.#options;
    const askedAt = engine.clock.monotonic();
    const state = this.#state;
    const { lastSeq } = state;
    const { patch } = proposal;
    let decided: Unheard['decided'] = null;
    const whole = {
      ...proposal,
      events(outcomes: readonly LedgerOutcome[]) {
        const events = engine.secrets.inData(proposal.events(outcomes));
        decided = { events, outcomes };
        return events;
      },
    };
    /** Of what was decided, so that it is not folded twice. */
    let after = state;
    let attempts = 0;
    const result = await patience(async () => {
      attempts += 1;
      const answer = await commitProposal(engine.store, fence, state, whole, (folded) => {
        after = folded;
      });
      return answer.type === 'fenced' && attempts > 1 ? this.#lookUp({ fence, lastSeq, patch, decided }) : answer;
    });
    if (result.type !== 'committed') return result;
    if (patch.leaseOwner !== null && !ownership.isCertain(askedAt) && !(await ownership.isOurs())) return { type: 'fenced' };
    const { events = [] } = (decided as Unheard['decided']) ?? {}; // set while the store decided
    this.#next = result.next ?? this.#next;
    const written = result.events.map((event, index) => ({ ...events[index], seq: event.seq, at: event.at }) as JournalEvent); // the store numbered exactly these
    this.#state = after;
    channel.appended(result.events);
    spans.wrote(written);
    return result;
  }

  async #lookUp(unheard: Unheard): Promise<CommitResult> {
    const { store } = this.#options.engine;
    const { fence, lastSeq, decided } = unheard;
    const row = await store.getRun(fence.tenantId, fence.runId);
    const limit = decided?.events.length ?? 0;
    const events = limit === 0 ? [] : await store.readEvents(fence.tenantId, fence.runId, { after: lastSeq, limit });
    return whatBecame(unheard, { row, events });
  }
}
