import type { EventType } from '@nexus-agent/protocol';

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
