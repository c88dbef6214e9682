import { describe, expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { Mailbox } from './reports.ts';
import { Stopping } from './stopping.ts';

const failure = (message: string) => ({
  type: 'fail' as const,
  resumable: true,
  error: { code: 'internal' as const, message, retryable: false },
});

describe('why a run stops', () => {
  function stopping() {
    const time = createManualTime();
    let changes = 0;
    const subject = new Stopping({ clock: time.clock, graceMs: 2_000, onChange: () => void changes++ });
    return { subject, time, changes: () => changes };
  }

  it('is the first reason, but a cancel goes before everything [verifies durability.cancel]', () => {
    const { subject } = stopping();
    subject.request({ type: 'drain' });
    expect(subject.signal.aborted).toBe(false);
    subject.request(failure('first'));
    subject.request(failure('second'));
    expect(subject.why).toEqual(failure('first'));
    subject.request({ type: 'cancel', reason: 'enough' });
    subject.request(failure('third'));
    subject.request({ type: 'cancel', reason: 'again' });
    expect(subject.why).toEqual({ type: 'cancel', reason: 'enough' });
  });

  it('lets what is under way finish when only the budget is used up', () => {
    const { subject } = stopping();
    subject.after(failure('the budget'));
    expect(subject.signal.aborted).toBe(false);
    expect(subject.leftMs()).toBeNull();
    subject.after(failure('later'));
    expect(subject.why).toEqual(failure('the budget'));
    subject.request({ type: 'cancel', reason: 'enough' });
    expect(subject.signal.aborted).toBe(true);
  });

  it('gives effects that are told to stop one grace, however often they are told', async () => {
    const { subject, time, changes } = stopping();
    subject.request(failure('first'));
    expect(subject.leftMs()).toBe(2_000);
    await time.advance(1_500);
    subject.request({ type: 'cancel', reason: 'enough' });
    expect(subject.leftMs()).toBe(500);
    expect(subject.signal.reason).toMatchObject({ code: 'cancelled', message: 'first' });
    expect(changes()).toBe(2);
  });
});

describe('the mailbox of a run', () => {
  it('keeps reports in order and hands each out once', () => {
    const mailbox = new Mailbox(createManualTime().timers);
    expect(mailbox.isEmpty).toBe(true);
    mailbox.put({ type: 'poke' });
    mailbox.put({ type: 'childless', callId: 'c', error: { code: 'not_found', message: 'gone', retryable: false } });
    expect(mailbox.isEmpty).toBe(false);
    expect(mailbox.take().map(({ type }) => type)).toEqual(['poke', 'childless']);
    expect(mailbox.take()).toEqual([]);
  });

  it('ends a wait with a report, a ring, or its time, and leaves no timer behind', async () => {
    const time = createManualTime();
    const mailbox = new Mailbox(time.timers);
    const reported = mailbox.wait(null);
    mailbox.put({ type: 'poke' });
    await reported;
    const rung = mailbox.wait(60_000);
    mailbox.ring();
    await rung;
    expect(time.pending).toBe(0);
    const timed = mailbox.wait(100);
    await time.advance(100);
    await timed;
    expect(time.pending).toBe(0);
  });
});
