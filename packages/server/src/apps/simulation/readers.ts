import { NexusError } from '#core';
import type { Asking } from './asking.ts';
import type { Node } from './node.ts';
import { person } from './person.ts';
import { Violation } from './violation.ts';

type Data = Readonly<Record<string, unknown>>;
interface Frame {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** What somebody was shown of a run, over however many connections, and whether it can have been so. */
interface Shown {
  take(frame: Frame): void;
  /** The last id that was shown: where another connection goes on. */
  readonly cursor: { readonly seq: number; readonly offset: number };
  readonly ended: boolean;
}

/** Where a text that was shown is not that of the answer. */
function difference(shown: string, whole: string): string {
  let same = 0;
  while (same < shown.length && shown[same] === whole[same]) same += 1;
  const around = (text: string) => JSON.stringify(text.slice(Math.max(0, same - 10), same + 10));
  return `${shown.length} of ${whole.length} characters, and from ${same} on ${around(shown)} instead of ${around(whole)}`;
}

const terminal = new Set(['run.completed', 'run.failed', 'run.cancelled']);

/** Throws {@link Violation} for an event that is missing or comes twice, and for a text that is not that of the answer. */
function createShown(runId: string): Shown {
  let cursor = { seq: 0, offset: 0 };
  let ended = false;
  let callId: unknown = null;
  let length = 0;
  let text = '';

  function begin(id: unknown): void {
    callId = id;
    length = 0;
    text = '';
  }

  function show(event: string, data: Data): void {
    switch (event) {
      case 'model.delta': {
        if (data.callId !== callId) begin(data.callId);
        const offset = Number(data.offset);
        if (offset > length) throw new Violation(`stream: ${runId} lacks the text from ${length} to ${offset} of ${String(callId)}`);
        const fresh = String(data.text).slice(length - offset);
        length += fresh.length;
        text += fresh;
        return;
      }
      case 'message.reset': {
        begin(data.callId);
        const parts = data.parts as readonly { readonly text: string }[]; // as the protocol has it
        text = parts.map((part) => part.text).join('');
        length = Number(data.offset);
        return;
      }
      case 'model.started':
      case 'step.restarted':
      case 'model.failed':
        if (data.callId === callId) begin(callId);
        return;
      case 'model.completed': {
        const content = data.content as readonly { readonly type: string; readonly text?: string }[]; // as the protocol has it
        const whole = content.map((part) => (part.type === 'text' ? part.text : '')).join('');
        if (data.callId !== callId && whole !== '') throw new Violation(`stream: ${runId} was shown nothing of ${String(data.callId)}`);
        if (data.callId === callId && whole !== text)
          throw new Violation(`stream: ${runId} was shown ${difference(text, whole)} of ${String(callId)}`);
        return;
      }
      default:
        return;
    }
  }

  return {
    get cursor() {
      return cursor;
    },
    get ended() {
      return ended;
    },
    take({ id, event, data }) {
      const wire = JSON.parse(data) as { readonly seq?: number; readonly data: Data }; // a wire event
      if (wire.seq !== undefined) {
        if (wire.seq !== cursor.seq + 1) throw new Violation(`stream: ${runId} showed event ${wire.seq} after ${cursor.seq}`);
        cursor = { seq: wire.seq, offset: 0 };
      }
      show(event, wire.data);
      if (id !== null) {
        const [seq = '0', offset = '0'] = id.split('.');
        cursor = { seq: Number(seq), offset: Number(offset) };
      }
      if (terminal.has(event)) ended = true;
    },
  };
}

export interface Readers {
  read(name: string, runId: string): Promise<void>;
  /** Those that have not been shown the end of their run. */
  waiting(): readonly string[];
}

const pauseMs = 700;

/** People who watch runs, from one node after another. */
export function createReaders({ world, chance, nodes, ask, sleep }: Asking, pace: number): Readers {
  const readers = new Map<string, Shown>();

  /** Reads to the end of the run, from one node after another. */
  async function read(name: string, runId: string): Promise<void> {
    const shown = createShown(runId);
    readers.set(name, shown);
    while (!shown.ended) {
      const ready = nodes();
      if (ready.length > 0) await connect(chance.pick(ready), runId, shown, (10 + chance.next() * 20) * 1_000 * pace);
      if (!shown.ended) await sleep(pauseMs * chance.next() * pace);
      const isGone = await ask(`look at ${name}`, ({ orchestrator }) => orchestrator.runs.get(person, runId)).then(
        (run) => run.status === 'failed' && run.resumable === true && shown.ended,
        (error: unknown) => error instanceof NexusError && error.code === 'not_found',
      );
      if (isGone) break;
    }
    readers.delete(name);
  }

  /** One connection: it ends with the run, with the node, or when the reader has had enough of it. */
  function connect(node: Node, runId: string, shown: Shown, forMs: number): Promise<void> {
    return new Promise((resolve) => {
      const leaving = new AbortController();
      let isOpen = true;
      const end = () => {
        isOpen = false;
        leaving.abort();
        resolve();
      };
      world.after(forMs, null, end);
      const follow = async () => {
        for await (const frames of node.orchestrator.runs.follow(person, runId, shown.cursor, { signal: leaving.signal }))
          for (const frame of frames) if (isOpen) shown.take(frame);
      };
      world.after(2, node, () => {
        follow()
          .catch((error: unknown) => {
            if (!(error instanceof NexusError)) world.fail(error);
          })
          .finally(end);
      });
    });
  }

  return { read, waiting: () => [...readers].filter(([, shown]) => !shown.ended).map(([name]) => name) };
}
