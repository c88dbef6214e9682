import type { LiveText } from './live-text.ts';
import type { ReaderBatch, ReaderPlace } from './types.ts';

/** What is known of a run here, as far as a batch depends on it. */
interface Told {
  readonly lastSeq: number;
  readonly local: boolean;
  readonly live: LiveText | null;
  readonly outputs: { readonly last: number };
}

/**
 * The batch that was made last of a run, for the readers who come to the same place: when something happens, that is nearly all of
 * them, one after the other.
 */
export class SharedBatch {
  #place: ReaderPlace | null = null;
  #batch: ReaderBatch | null = null;
  #lastSeq = 0;
  #local = false;
  #live: LiveText | null = null;
  #liveLength = 0;
  #output = 0;

  /** `make` must depend on nothing but the place, and on what is known of the run. */
  at(place: ReaderPlace, channel: Told, make: () => ReaderBatch): ReaderBatch {
    if (this.#batch !== null && this.#isOf(place, channel)) return this.#batch;
    const batch = make();
    this.#place = place;
    this.#batch = batch;
    this.#lastSeq = channel.lastSeq;
    this.#local = channel.local;
    this.#live = channel.live;
    this.#liveLength = channel.live?.length ?? 0;
    this.#output = channel.outputs.last;
    return batch;
  }

  #isOf({ seq, offset, heard }: ReaderPlace, { lastSeq, local, live, outputs }: Told): boolean {
    const known = this.#place;
    if (known === null || known.seq !== seq || known.offset !== offset || known.heard !== heard) return false;
    if (this.#lastSeq !== lastSeq || this.#local !== local || this.#output !== outputs.last) return false;
    return this.#live === live && this.#liveLength === (live?.length ?? 0);
  }
}
