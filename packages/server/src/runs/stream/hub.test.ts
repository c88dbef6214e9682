import { randomUUID } from 'node:crypto';
import { RunId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Bus } from '#bus';
import { systemClock, systemTimers } from '#core';
import { createManualTime } from '#core/testing';
import type { StoredEvent } from '#storage';
import type { Channel } from './channel.ts';
import { follow } from './follow.ts';
import { createStreamHub, type StreamHub } from './hub.ts';
import { lengthOf, type TextKind } from './live-text.ts';
import type { LocalChannel } from './local.ts';
import { streamSettings } from './settings.testkit.ts';

/** Buses of several processes: messages arrive later, in order, and some are lost. */
function createWire(lose: () => boolean = () => false) {
  const ends: Map<string, Set<(message: string) => void>>[] = [];
  const queue: (() => void)[] = [];
  const published: string[] = [];
  return {
    published,
    bus(): Bus {
      const topics = new Map<string, Set<(message: string) => void>>();
      ends.push(topics);
      return {
        spansProcesses: true,
        publish(topic, message) {
          published.push(message);
          if (lose()) return;
          queue.push(() => {
            for (const end of ends) for (const listener of [...(end.get(topic) ?? [])]) listener(message);
          });
        },
        subscribe(topic, listener) {
          const listeners = topics.get(topic) ?? new Set();
          topics.set(topic, listeners.add(listener));
          return () => listeners.delete(listener);
        },
        close: async () => undefined,
      };
    },
    /** Delivers what was sent first. */
    step() {
      queue.shift()?.();
    },
    /** What is under way never arrives. */
    lose() {
      queue.length = 0;
    },
    /** Delivers what is under way, and what that brings about. */
    settle() {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) next();
    },
  };
}

const event = (seq: number, chars = 2): StoredEvent => ({ seq, type: 'step.started', at: 0, data: '"'.repeat(chars) });
const key = 'tenant/run';
const hubs: StreamHub[] = [];
afterEach(() => {
  for (const hub of hubs.splice(0)) hub.close();
});

function hub(bus: Bus, coalesceMs = 0, time = { clock: systemClock, timers: systemTimers }): StreamHub {
  const created = createStreamHub({ bus, ...time, settings: { ...streamSettings, coalesceMs } });
  hubs.push(created);
  return created;
}

function text(channel: Channel): string {
  return (channel.live?.chunks ?? []).map((chunk) => `${chunk.kind[0]}${chunk.text}`).join('|');
}

/** Runs of the same kind joined: how the text was cut does not matter. */
function joined(pieces: readonly { kind: TextKind; text: string }[]): string[] {
  return pieces.flatMap(({ kind, text: said }) => Array.from(said, (letter) => kind[0] + letter));
}

describe('a follower in another process', () => {
  const pieces = fc.array(
    fc.record({
      kind: fc.constantFrom<TextKind>('text', 'reasoning'),
      text: fc.string({ minLength: 1, maxLength: 3_000, unit: fc.constantFrom('a', 'é', '\u2028', '"', '\u0000', '\\') }),
    }),
    { minLength: 1, maxLength: 12 },
  );

  it('has exactly the text of the owner, whenever it comes [verifies stream.resume.process]', () => {
    fc.assert(
      fc.property(pieces, fc.nat(), (all, at) => {
        const wire = createWire();
        const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
        const local = owner.openLocal(key);
        local.begin({ seq: 5, step: 1, callId: 'c' });
        let follower: { channel: Channel; release(): void } | null = null;
        for (const [index, piece] of all.entries()) {
          if (index === at % all.length) follower = other.follow(key);
          wire.settle();
          local.delta(piece.kind, piece.text);
        }
        local.flush();
        wire.settle();
        expect(joined(follower?.channel.live?.chunks ?? [])).toEqual(joined(all));
        // As Postgres is given it: JSON in an envelope of JSON.
        for (const message of wire.published)
          expect(Buffer.byteLength(JSON.stringify([randomUUID(), `run:${key}`, message]))).toBeLessThan(7_900);
        follower?.release();
        local.close();
      }),
      { numRuns: 60 },
    );
  });

  it('asks once for what is missing, however much comes behind it, and again when nothing came [verifies stream.resume.process]', async () => {
    const time = createManualTime();
    let isLost = false;
    const wire = createWire(() => isLost);
    const [owner, other] = [hub(wire.bus(), 0, time), hub(wire.bus(), 0, time)];
    const asked = () => wire.published.filter((message) => message.includes(key)).length;
    const local = owner.openLocal(key);
    const { channel, release } = other.follow(key);
    wire.settle();
    local.begin({ seq: 5, step: 1, callId: 'c' });
    const before = asked();
    isLost = true;
    local.delta('text', 'lost');
    isLost = false;
    for (let index = 0; index < 200; index++) local.delta('text', ` word ${index}`);
    const published = wire.published.length;
    wire.settle();
    expect(asked() - before).toBe(1);
    expect(wire.published.length - published).toBeLessThan(300);
    const heard = () => (channel.live?.chunks ?? []).map((chunk) => chunk.text).join('');
    expect(heard()).toMatch(/^lost word 0 word 1 .* word 199$/);
    isLost = true;
    local.delta('text', ' lost as well');
    isLost = false;
    local.delta('text', ' on its way');
    wire.settle();
    expect(asked() - before).toBe(1);
    await time.advance(250);
    local.delta('text', ' end');
    wire.settle();
    expect(asked() - before).toBe(2);
    expect(heard()).toMatch(/lost as well on its way end$/);
    release();
    local.close();
  });

  it('is told the end of an answer that it did not hear, also where its own process takes the run over [verifies stream.resume.process]', async () => {
    const wire = createWire();
    const names = { tenantId: TenantId.parse('tenant'), runId: RunId.parse('run_01j9m3q4v8x2k7n5c6b0a1d2e3') };
    const ofRun = `${names.tenantId}/${names.runId}`;
    const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
    const local = owner.openLocal(ofRun);
    const { channel, release } = other.follow(ofRun);
    wire.settle();
    local.begin({ seq: 5, step: 1, callId: 'c' });
    local.delta('text', 'heard');
    wire.settle();
    local.delta('text', ' and not heard');
    wire.lose();
    local.close();
    const content = [{ type: 'text', text: 'heard and not heard' }];
    const completed: StoredEvent = { seq: 6, type: 'model.completed', at: 0, data: JSON.stringify({ step: 1, callId: 'c', content }) };
    const taken = other.openLocal(ofRun);
    expect(channel.local).toBe(true);
    const store = {
      readEvents: async () => [completed],
      readEventsWithin: async (_tenant: string, _run: string, { after }: { readonly after: number }) =>
        [completed, event(7)].filter(({ seq }) => seq > after).map((stored) => ({ ...stored, chars: stored.data.length })),
      readEventData: async () => '',
      lastSeqOf: async () => 7,
    };
    const leaving = new AbortController();
    const engine = { store, hub: other, clock: systemClock, timers: systemTimers };
    taken.appended([event(7)]);
    const shown: [string, unknown][] = [];
    for await (const frames of follow({
      engine,
      ...names,
      cursor: { seq: 5, offset: 5 },
      signal: leaving.signal,
      inLog: async () => ({ lastSeq: 0, ended: false }),
    })) {
      for (const { event: name, data } of frames) shown.push([name, JSON.parse(data).data.text]);
      leaving.abort();
    }
    expect(shown).toEqual([
      ['model.delta', ' and not heard'],
      ['model.completed', undefined],
      ['step.started', undefined],
    ]);
    taken.close();
    release();
  });

  it('never holds a text with a hole, and asks again when a message was lost', () => {
    fc.assert(
      fc.property(pieces, fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), (all, losses) => {
        let count = 0;
        let lossy = true;
        const wire = createWire(() => lossy && losses[count++ % losses.length] === true);
        const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
        const local = owner.openLocal(key);
        const { channel, release } = other.follow(key);
        wire.settle();
        local.begin({ seq: 5, step: 1, callId: 'c' });
        for (const piece of all) {
          local.delta(piece.kind, piece.text);
          wire.settle();
          const held = joined(channel.live?.chunks ?? []);
          expect(held).toEqual(joined(all).slice(0, held.length));
        }
        // Once the wire is well again the next piece brings everything, provided that the owner ever heard of the follower.
        lossy = false;
        const again = other.follow(key);
        wire.settle();
        local.delta('text', 'z');
        local.flush();
        wire.settle();
        expect(joined(channel.live?.chunks ?? [])).toEqual(joined([...all, { kind: 'text', text: 'z' }]));
        again.release();
        release();
        local.close();
      }),
      { numRuns: 60 },
    );
  });

  it('costs the bus nothing until somebody follows', () => {
    const wire = createWire();
    const owner = hub(wire.bus());
    const local = owner.openLocal(key);
    local.begin({ seq: 1, step: 1, callId: 'c' });
    local.delta('text', 'unheard');
    local.appended([event(1)]);
    local.close();
    expect(wire.published).toEqual([]);
  });

  it('is sent nothing more once it has not asked for so long', async () => {
    const wire = createWire();
    const time = createManualTime();
    const [owner, other] = [hub(wire.bus(), 0, time), hub(wire.bus(), 0, time)];
    const local = owner.openLocal(key);
    const { release } = other.follow(key);
    wire.settle();
    local.appended([event(1)]);
    const isSent = () => wire.published.splice(0).some((message) => message.includes('"t":"event"'));
    expect(isSent()).toBe(true);
    for (let tenths = 0; tenths < 20; tenths++) {
      await time.advance(streamSettings.interestMs / 10);
      wire.settle();
    }
    isSent();
    local.appended([event(2)]);
    expect(isSent()).toBe(true);
    release();
    await time.advance(streamSettings.interestMs);
    wire.settle();
    local.appended([event(3)]);
    expect(isSent()).toBe(false);
    local.close();
  });

  it('knows from the bus that nothing comes for now, until something does [verifies stream.end.at-once]', () => {
    const wire = createWire();
    const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
    const local = owner.openLocal(key);
    const { channel, release } = other.follow(key);
    wire.settle();
    for (const [seq, type, atRest] of [
      [1, 'run.started', false],
      [2, 'run.waiting', true],
      [3, 'run.resumed', false],
      [4, 'run.failed', true],
    ] as const) {
      local.appended([{ ...event(seq), type }]);
      wire.settle();
      expect(channel.atRest).toBe(atRest);
    }
    release();
    local.close();
  });

  it('learns from the bus again after its own process has given the run away', () => {
    const wire = createWire();
    const [first, second] = [hub(wire.bus()), hub(wire.bus())];
    const here = first.openLocal(key);
    const { channel, release } = first.follow(key);
    here.appended([event(1), event(2)]);
    here.close();
    const there: LocalChannel = second.openLocal(key);
    wire.settle();
    there.appended([event(3)]);
    there.begin({ seq: 3, step: 1, callId: 'c' });
    there.delta('text', 'from there');
    there.flush();
    wire.settle();
    expect(channel.lastSeq).toBe(3);
    // What this process remembers ends at 2: the rest is in the store.
    expect(channel.tailAfter(2)).toBeNull();
    expect(text(channel)).toBe('tfrom there');
    release();
    there.close();
  });
});

describe('a reader that resumes in another process', () => {
  const tenantId = TenantId.parse('default');
  const runId = RunId.parse('run_01j9m3q4v8x2k7n5c6b0a1d2e3');

  it('hears what is said once its run is driven, although nobody drove it when it came [verifies stream.resume.process]', async () => {
    const wire = createWire();
    const time = createManualTime();
    const [owner, other] = [hub(wire.bus(), 0, time), hub(wire.bus(), 0, time)];
    const log: StoredEvent[] = [];
    const after = (seq: number) => log.filter((stored) => stored.seq > seq);
    const store = {
      readEvents: async () => log,
      readEventsWithin: async (_tenant: string, _run: string, range: { readonly after: number }) =>
        after(range.after).map((stored) => ({ ...stored, chars: stored.data.length })),
      readEventData: async () => '',
      lastSeqOf: async () => log.length,
    };
    const leave = new AbortController();
    const frames: string[] = [];
    const reading = (async () => {
      const engine = { store, hub: other, ...time };
      const cursor = { seq: 0, offset: 0 };
      for await (const batch of follow({
        engine,
        tenantId,
        runId,
        cursor,
        signal: leave.signal,
        inLog: async () => ({ lastSeq: log.length, ended: false }),
      }))
        frames.push(...batch.map(({ event: name, data }) => `${name} ${JSON.parse(data).data.text ?? ''}`));
    })();
    await time.advance(10);
    wire.settle(); // nobody takes up that it follows
    const local = owner.openLocal(`${tenantId}/${runId}`);
    log.push(event(1));
    local.appended([event(1)]);
    local.begin({ seq: 1, step: 1, callId: 'c' });
    local.delta('text', 'hello');
    local.flush();
    for (let turn = 0; turn < 4; turn++) {
      await time.advance(streamSettings.busPollMs / 2);
      wire.settle();
    }
    await time.advance(10);
    expect(frames).toEqual(['step.started ', 'model.delta hello']);
    leave.abort();
    await reading;
    local.close();
  });

  it.each([0, 1, 6_499, 12_000, 19_999])(
    'is given what follows %i characters, and is never set back [verifies stream.resume.exact]',
    async (offset) => {
      const wire = createWire();
      const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
      const local = owner.openLocal(`${tenantId}/${runId}`);
      const said = Array.from({ length: 20_000 }, (_, at) => String.fromCharCode(97 + (at % 26))).join('');
      local.begin({ seq: 5, step: 1, callId: 'c' });
      local.delta('text', said);
      local.flush();
      const leave = new AbortController();
      const none = async () => [];
      const store = { readEvents: none, readEventsWithin: none, readEventData: async () => null, lastSeqOf: async () => 5 };
      const engine = { store, hub: other, clock: systemClock, timers: systemTimers };
      const frames: { event: string; data: string }[] = [];
      const reading = (async () => {
        const cursor = { seq: 5, offset };
        for await (const batch of follow({
          engine,
          tenantId,
          runId,
          cursor,
          signal: leave.signal,
          inLog: async () => ({ lastSeq: 0, ended: false }),
        }))
          frames.push(...batch);
      })();
      const text = () => frames.map((frame) => (JSON.parse(frame.data) as { data: { text: string } }).data.text).join(''); // deltas, as is asserted
      // Each message by itself: a reader looks between any two.
      for (let turn = 0; turn < 200 && text().length < said.length - offset; turn++) {
        wire.step();
        await new Promise((resolve) => setImmediate(resolve));
      }
      // One that comes late does not begin in the middle.
      local.delta('text', '!');
      local.flush();
      wire.settle();
      await expect.poll(text).toBe(`${said.slice(offset)}!`);
      expect(new Set(frames.map((frame) => frame.event))).toEqual(new Set(['model.delta']));
      leave.abort();
      await reading;
      local.close();
    },
  );

  it('that hears a piece from the middle first asks for the beginning, and has no text until it comes', () => {
    const wire = createWire();
    const [owner, other] = [hub(wire.bus()), hub(wire.bus())];
    const local = owner.openLocal(key);
    const { channel, release } = other.follow(key);
    wire.settle();
    local.begin({ seq: 5, step: 1, callId: 'c' });
    local.delta('text', 'lost');
    wire.lose();
    local.delta('text', ' and found');
    local.flush();
    wire.step();
    expect(channel.live).toBeNull();
    wire.settle();
    expect(joined(channel.live?.chunks ?? [])).toEqual(joined([{ kind: 'text', text: 'lost and found' }]));
    release();
    local.close();
  });
});

describe('what a process remembers of a log', () => {
  it('is given only without a gap, also after another process wrote in between', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ skip: fc.integer({ min: 0, max: 3 }), count: fc.integer({ min: 1, max: 5 }) }), { maxLength: 8 }),
        (turns) => {
          const here = hub(createWire().bus());
          const { channel, release } = here.follow(key);
          let seq = 0;
          for (const { skip, count } of turns) {
            seq += skip;
            const local = here.openLocal(key);
            local.appended(Array.from({ length: count }, (_, index) => event(seq + index + 1)));
            seq += count;
            for (let after = 0; after <= seq; after++) {
              const tail = channel.tailAfter(after);
              if (tail !== null)
                expect(tail.map((entry) => entry.seq)).toEqual(Array.from({ length: seq - after }, (_, index) => after + index + 1));
            }
            local.close();
          }
          release();
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is bounded in number and size', () => {
    const here = hub(createWire().bus());
    const local = here.openLocal(key);
    const { channel, release } = here.follow(key);
    for (let seq = 1; seq <= 500; seq++) local.appended([event(seq)]);
    expect(channel.tailAfter(500 - 65)).toBeNull();
    expect(channel.tailAfter(500 - 64)).toHaveLength(64);
    for (let seq = 501; seq <= 510; seq++) local.appended([event(seq, 40_000)]);
    expect(channel.tailAfter(508)).toBeNull();
    expect(channel.tailAfter(509)).toHaveLength(1);
    expect(here.followers).toBe(1);
    release();
    release();
    expect(here.followers).toBe(0);
    local.close();
  });

  it('sends the first text of a call at once and joins what follows', async () => {
    const here = hub({ ...createWire().bus(), spansProcesses: false }, 30);
    const local = here.openLocal(key);
    const { channel, release } = here.follow(key);
    let heard = 0;
    channel.listen(() => {
      heard += 1;
    });
    local.begin({ seq: 1, step: 1, callId: 'c' });
    local.delta('text', 'first');
    expect(heard).toBe(1);
    for (let index = 0; index < 50; index++) local.delta('text', '.');
    expect(heard).toBe(1);
    await expect.poll(() => lengthOf(channel.live?.chunks ?? [])).toBe(55);
    expect(heard).toBe(2);
    release();
    local.close();
  });

  it('hands on what it held back when its run leaves, and nothing afterwards', async () => {
    const time = createManualTime();
    const here = hub({ ...createWire().bus(), spansProcesses: false }, 30, time);
    const local = here.openLocal(key);
    const { channel, release } = here.follow(key);
    local.begin({ seq: 1, step: 1, callId: 'c' });
    local.delta('text', 'first');
    local.delta('text', ', held back');
    expect(text(channel)).toBe('tfirst');
    expect(time.pending).toBe(1);
    local.close();
    expect(joined(channel.live?.chunks ?? [])).toEqual(joined([{ kind: 'text', text: 'first, held back' }]));
    expect(time.pending).toBe(0);
    release();
  });
});
