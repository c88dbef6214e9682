import { type JournalEventType, terminalEventTypes } from '@nexus-agent/protocol';
import type { StoredEvent } from '#storage';
import { appendChunk, type LiveChunk, type LiveText, type TextKind } from './live-text.ts';
import type { StreamSettings } from './settings.ts';
import { SharedBatch } from './shared.ts';
import { OutputRing } from './tool-output.ts';
import type { ReaderBatch, ReaderPlace } from './types.ts';

/** What this process knows of a run's stream. The log in the store is the truth; all of this may be lost at any time. */
export interface Channel {
  /** Highest event number known, 0 when none is. */
  readonly lastSeq: number;
  /** The run is driven by this process, so that nothing happens to it unseen. */
  readonly local: boolean;
  /** After the last event that is known nothing comes for now: the run has ended, or waits. */
  readonly atRest: boolean;
  /** The terminal event that this process wrote last, 0 when it wrote something else since. */
  readonly endWritten: number;
  readonly live: LiveText | null;
  readonly outputs: Pick<OutputRing, 'last' | 'after'>;
  /** Events after `seq`, or null when they must be read from the store. */
  tailAfter(seq: number): readonly StoredEvent[] | null;
  /** The text of a long answer, which its readers share as long as one of them holds it. */
  longText<Text>(seq: number, read: () => Promise<Text>): Promise<Text>;
  /** What readers at a place are given next of what is known here, made once for all who are there. */
  shared(place: ReaderPlace, make: () => ReaderBatch): ReaderBatch;
  /** Called at each change, until the returned function is called. */
  listen(listener: () => void): () => void;
}

/** A model call that begins to stream; `seq` is that of its `model.started`. */
export interface StreamedCall {
  readonly seq: number;
  readonly step: number;
  readonly callId: string;
}

interface LongText {
  readonly seq: number;
  readonly text: WeakRef<Promise<unknown>>;
}

const resting: ReadonlySet<string> = new Set<JournalEventType>([...terminalEventTypes, 'run.waiting']);

/** The channel as the hub keeps it: counts who drives and who follows, and takes what is told. */
export class ChannelState implements Channel {
  readonly key: string;
  readonly outputs: OutputRing;
  /** Executors of this process, and followers. Nobody left: the channel may go. */
  owners = 0;
  followers = 0;
  live: LiveText | null = null;
  lastSeq = 0;
  atRest = false;
  endWritten = 0;
  #longText: LongText | null = null;
  #batch: SharedBatch | null = null;
  readonly #settings: StreamSettings;
  readonly #listeners = new Set<() => void>();
  #tail: StoredEvent[] = [];
  #tailChars = 0;

  constructor(key: string, settings: StreamSettings) {
    this.key = key;
    this.#settings = settings;
    this.outputs = new OutputRing(settings.outputChars);
  }

  get local(): boolean {
    return this.owners > 0;
  }

  /** An event up to this number is known to exist; `atRest`: as of that one. */
  heardOf(seq: number, atRest: boolean): void {
    if (seq <= this.lastSeq) return;
    this.lastSeq = seq;
    this.atRest = atRest;
  }

  append(events: readonly StoredEvent[]): void {
    for (const event of events) {
      // Another process wrote in between: what this one remembers from before is not the newest any more.
      if ((this.#tail.at(-1)?.seq ?? 0) + 1 !== event.seq) {
        this.#tail = [];
        this.#tailChars = 0;
      }
      this.#tail.push(event);
      this.#tailChars += event.data.length;
      this.heardOf(event.seq, resting.has(event.type));
      this.endWritten = (terminalEventTypes as readonly string[]).includes(event.type) ? event.seq : 0;
    }
    const { tailEvents, tailChars } = this.#settings;
    while (this.#tail.length > 0 && (this.#tail.length > tailEvents || this.#tailChars > tailChars)) {
      this.#tailChars -= this.#tail.shift()?.data.length ?? 0;
    }
  }

  begin({ seq, step, callId }: StreamedCall): LiveText {
    this.live = { seq, step, callId, chunks: [], length: 0 };
    return this.live;
  }

  /** Appends to the text of the call that streams; null when none does. */
  add(kind: TextKind, text: string): LiveChunk | null {
    if (this.live === null) return null;
    const chunk = { kind, offset: this.live.length, text };
    appendChunk(this.live, chunk);
    return chunk;
  }

  /** Takes a piece that another process streamed. False when something before it is missing. */
  place(call: StreamedCall, chunk: LiveChunk): boolean {
    if (this.live === null || this.live.seq < call.seq) {
      // Without its beginning a new text would look shorter to a reader than what it has of it.
      return chunk.offset === 0 && appendChunk(this.begin(call), chunk);
    }
    return this.live.seq > call.seq || appendChunk(this.live, chunk); // of a call that is over, nothing is missed
  }

  tailAfter(seq: number): readonly StoredEvent[] | null {
    if (this.owners > 0 && this.lastSeq > 0 && this.lastSeq <= seq) return [];
    const [first] = this.#tail;
    const last = this.#tail.at(-1);
    if (first === undefined || last === undefined || first.seq > seq + 1 || last.seq <= seq) return null;
    return this.#tail.slice(Math.max(0, seq + 1 - first.seq));
  }

  longText<Text>(seq: number, read: () => Promise<Text>): Promise<Text> {
    const known = this.#longText?.seq === seq ? this.#longText.text.deref() : undefined;
    if (known !== undefined) return known as Promise<Text>; // of the same event, which is read in one way
    const text = read();
    this.#longText = { seq, text: new WeakRef(text) };
    return text;
  }

  shared(place: ReaderPlace, make: () => ReaderBatch): ReaderBatch {
    // A lone reader shares with nobody: nothing is kept for it.
    if (this.followers < 2) {
      this.#batch = null;
      return make();
    }
    this.#batch ??= new SharedBatch();
    return this.#batch.at(place, this, make);
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
