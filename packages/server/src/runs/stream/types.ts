import type { EventType } from '@nexus-agent/protocol';
import type { SizedEvent, StoredEvent } from '#storage';

/** One event of a stream, ready to be written: `id:` line (absent on parts that cannot be resumed at), type, and JSON of the wire event. */
export interface StreamFrame {
  readonly id: string | null;
  readonly event: EventType;
  readonly data: string;
  /** The rest of a long `data`, read while it is written: nobody holds all of it. */
  readonly rest?: () => AsyncIterable<string>;
}

/** A place in a stream: after event `seq`, and within the model call that it began after `offset` units of text. */
export interface StreamCursor {
  readonly seq: number;
  readonly offset: number;
}

/** Where a reader is: its cursor, and the newest of what tools said that it was told. */
export interface ReaderPlace extends StreamCursor {
  readonly heard: number;
}

/** What a reader is given at once. */
export interface ReaderBatch {
  readonly frames: readonly StreamFrame[];
  /** Where it is then. */
  readonly place: ReaderPlace;
  /** There is more than that. */
  readonly more: boolean;
  /** The last of the events in it. */
  readonly last: StoredEvent | undefined;
  /** The event behind the frames is longer than a batch, and is read by itself. */
  readonly long: SizedEvent | null;
}
