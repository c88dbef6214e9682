import { noUsage } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import type { ModelService } from '#llm';
import { makeRequest } from '#llm/testing';
import type { Engine, RunContext, RunModelAttempt } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import { Effects } from './effects.ts';
import { Mailbox } from './reports.ts';
import type { RunSpans } from './spans.ts';
import { Stopping } from './stopping.ts';

it('tells a model call that asks for another attempt when there is nobody left to grant it', async () => {
  const { clock, timers, advance } = createManualTime();
  const target = {
    provider: 'p',
    model: 'm',
    contextTokens: 1_000,
    maxOutputTokens: 100,
    simulator: true,
    thinksUnseen: false,
    imageTokens: 1_000,
    templateTokens: 32,
    price: null,
  };
  const llm: Pick<ModelService, 'attempt' | 'next'> = {
    next: async () => ({ type: 'attempt', target, delayMs: 0 }),
    async *attempt() {
      const error = { code: 'provider_unavailable', message: 'down', retryable: true } as const;
      yield { type: 'failed', error, retryAfterMs: null, usage: noUsage, sent: true };
    },
  };
  const mailbox = new Mailbox(timers);
  const stopping = new Stopping({ clock, graceMs: 2_000, onChange: () => mailbox.ring() });
  // Of the many parts of an engine, a model call uses these.
  const effects = new Effects({
    engine: { llm, clock, timers, settings: { aheadTokens: 500 } } as Engine,
    context: { runId: 'run_1', targets: [target] } as unknown as RunContext,
    channel: { begin: () => undefined, flush: () => undefined } as unknown as LocalChannel,
    spans: { model: () => ({ traceparent: '', end: () => undefined }) } as unknown as RunSpans,
    mailbox,
    stopping,
    startChild: async () => undefined,
    patience: (work) => work(),
  });
  const call = { callId: 'call_1', step: 1, purpose: 'answer', request: makeRequest('x') };
  effects.beginModel({ call, target, attempt: 1, reserve: { wallMs: { max: 1_000 } } } as unknown as RunModelAttempt, undefined, 1);
  await advance(0);
  expect(mailbox.take().map(({ type }) => type)).toEqual(['attempt']);

  let settled = false;
  const settling = effects.settle(2_000).then(() => {
    settled = true;
  });
  await advance(0);
  expect(settled).toBe(true);
  await settling;
  expect(mailbox.take()).toMatchObject([{ type: 'model', outcome: { type: 'failed', error: { code: 'lease_lost' } } }]);
  expect(effects.inFlight.size).toBe(0);
});
