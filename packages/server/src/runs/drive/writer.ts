import type { JournalEvent, NewEvent, RunId } from '@nexus-agent/protocol';
import type { LedgerOutcome } from '#ledger';
import { fold, foldNew, type RunState } from '#runs/journal';
import { assumedEvents, commitProposal, type Engine, type Proposal, type RunFence } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import type { CommitResult } from '#storage';
import type { RunSpans } from './spans.ts';

export interface RunWriterOptions {
  readonly engine: Engine;
  readonly fence: RunFence;
  readonly state: RunState;
  readonly channel: LocalChannel;
  readonly spans: RunSpans;
}

/** The one place where a driven run is written, and where its state moves on. */
export class RunWriter {
  readonly #options: RunWriterOptions;
  #state: RunState;
  #next: RunId | null = null;

  constructor(options: RunWriterOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** The run that is due since this one left the session. */
  get next(): RunId | null {
    return this.#next;
  }

  get state(): RunState {
    return this.#state;
  }

  /**
   * Writes under the fence, folds what was written and tells the followers. `totals` are those of the state afterwards,
   * where the caller knows them. Throws what the store throws; the state is then as before.
   */
  async commit(proposal: Proposal, totals = foldNew(this.#state, assumedEvents(proposal)).totals): Promise<CommitResult> {
    const { engine, fence, channel, spans } = this.#options;
    let events: readonly NewEvent[] = [];
    const whole = {
      ...proposal,
      patch: { ...proposal.patch, totals },
      events: (outcomes: readonly LedgerOutcome[]) => (events = proposal.events(outcomes)),
    };
    const result = await commitProposal(engine.store, fence, this.#state.lastSeq, whole);
    if (result.type !== 'committed') return result;
    this.#next = result.next ?? this.#next;
    const written = result.events.map((event, index) => ({ ...events[index], seq: event.seq, at: event.at }) as JournalEvent); // the store numbered exactly these
    this.#state = fold(written, this.#state);
    channel.appended(result.events);
    spans.wrote(written);
    return result;
  }
}
