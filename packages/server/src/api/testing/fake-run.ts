import type { EventType, JournalData, JournalEventType, Run, RunTotals } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { StreamCursor, StreamFrame } from '#runs';

const noTotals: RunTotals = { inputTokens: 0, outputTokens: 0, costMicroUsd: 0, modelCalls: 0, toolCalls: 0 };
const startMs = Date.UTC(2026, 0, 1);

/** A run that is written by hand: a journal, live parts between its events, and readers that follow both. */
export interface FakeRun {
  readonly run: Run;
  readonly journal: readonly string[];
  append<T extends JournalEventType>(type: T, data: JournalData<T>): void;
  delta(callId: string, text: string): void;
  update(patch: Partial<Run>): void;
  complete(text: string): void;
  follow(cursor: StreamCursor, signal: AbortSignal): AsyncIterable<readonly StreamFrame[]>;
}

export function createFakeRun(base: Pick<Run, 'id' | 'sessionId' | 'agent'>): FakeRun {
  let run: Run = {
    ...base,
    agentVersion: 'agv_fake',
    status: 'running',
    step: 1,
    lastSeq: 0,
    totals: noTotals,
    createdAt: toTimestamp(startMs),
    updatedAt: toTimestamp(startMs),
  };
  const journal: string[] = [];
  const frames: (StreamFrame & { at: StreamCursor })[] = [];
  const waiters = new Set<() => void>();
  let offset = 0;

  const push = (id: string, event: EventType, body: object, at: StreamCursor) => {
    frames.push({ id, event, data: JSON.stringify(body), at });
    for (const wake of [...waiters]) wake();
  };

  return {
    get run() {
      return run;
    },
    journal,
    append(type, data) {
      const seq = run.lastSeq + 1;
      run = { ...run, lastSeq: seq };
      offset = 0;
      const body = { type, runId: run.id, seq, at: toTimestamp(startMs + seq * 100), data };
      journal.push(JSON.stringify(body));
      push(String(seq), type, body, { seq, offset: 0 });
    },
    delta(callId, text) {
      const begin = offset;
      offset += text.length;
      const body = { type: 'model.delta', runId: run.id, data: { step: 1, callId, kind: 'text', offset: begin, text } };
      push(`${run.lastSeq}.${offset}`, 'model.delta', body, { seq: run.lastSeq, offset });
    },
    update(patch) {
      run = { ...run, ...patch };
    },
    complete(text) {
      const totals = { inputTokens: 100, outputTokens: 20, costMicroUsd: 1234, modelCalls: 1, toolCalls: run.totals.toolCalls };
      this.append('message.completed', { messageId: 'msg_1', role: 'assistant', text, finishReason: 'stop' });
      run = { ...run, status: 'completed', output: text, totals };
      this.append('run.completed', { totals, stateHash: 'a1b2' });
    },
    async *follow(cursor, signal) {
      let index = frames.findIndex(({ at }) => at.seq > cursor.seq || (at.seq === cursor.seq && at.offset > cursor.offset));
      if (index === -1) index = frames.length;
      while (!signal.aborted) {
        const ready = frames.slice(index);
        index = frames.length;
        if (ready.length > 0) yield ready.map(({ id, event, data }) => ({ id, event, data }));
        else if (run.status === 'completed' || run.status === 'failed' || run.status === 'cancelled') return;
        else await nextFrame(signal);
      }
    },
  };

  function nextFrame(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        waiters.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      waiters.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
