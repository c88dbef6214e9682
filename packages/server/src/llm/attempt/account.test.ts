import { noUsage, type Usage } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { makeRequest } from '#llm/testing';
import { leastInputTokens } from '#llm/tokens';
import { type AttemptTerms, answerUse, failureUse, overrunUse } from './account.ts';
import type { Progress } from './provider.ts';

const request = makeRequest('a question that takes some tokens '.repeat(40));
const input = 1_400;
const limit = 500;

function terms(thinksUnseen: boolean): AttemptTerms {
  const model = { provider: 'p', model: 'm', contextTokens: 10_000, maxOutputTokens: 1_000, simulator: true, price: null };
  return {
    target: { ...model, thinksUnseen, imageTokens: 1_000, templateTokens: 32 },
    request,
    inputTokens: input,
    maxOutputTokens: limit,
  };
}
const [showsAll, mayThink] = [terms(false), terms(true)];

const answerUsage = (...given: Parameters<typeof answerUse>) => answerUse(...given).usage;
const failureUsage = (...given: Parameters<typeof failureUse>) => failureUse(...given).usage;
const overrunUsage = (...given: Parameters<typeof overrunUse>) => overrunUse(...given).usage;

const progress = (known: Partial<Progress> = {}): Progress => ({
  sent: true,
  usage: null,
  accounted: known.usage !== undefined,
  final: false,
  begun: (known.streamedTokens ?? 0) > 0,
  streamedTokens: 0,
  receivedTokens: 0,
  ...known,
});
const said = (inputTokens: number, outputTokens: number): Usage => ({ ...noUsage, inputTokens, outputTokens });
const cancelled = new NexusError('cancelled', 'left');

describe('an answer', () => {
  it('used what the provider says', () => {
    expect(answerUsage(mayThink, progress({ usage: said(300, 40), streamedTokens: 60, receivedTokens: 30 }))).toEqual(said(300, 40));
  });

  it.each([
    ['less output than was received', said(300, 3), said(300, 30)],
    ['no input', said(0, 40), said(input, 40)],
    ['less input than its words have', said(leastInputTokens(request) - 1, 40), said(input, 40)],
  ])('is not believed to have used %s', (_what, usage, charged) => {
    expect(answerUsage(showsAll, progress({ usage, streamedTokens: 60, receivedTokens: 30 }))).toEqual(charged);
  });

  it('without an account used what came, and its limit where the model may think unseen', () => {
    expect(answerUsage(showsAll, progress({ streamedTokens: 60, receivedTokens: 30 }))).toEqual(said(input, 60));
    expect(answerUsage(mayThink, progress({ streamedTokens: 60, receivedTokens: 30 }))).toEqual(said(input, limit));
    // An estimate on the high side is no sign of a limit that was ignored.
    expect(answerUsage(showsAll, progress({ streamedTokens: limit * 2, receivedTokens: limit - 1 }))).toEqual(said(input, limit));
    expect(answerUsage(showsAll, progress({ streamedTokens: limit * 2, receivedTokens: limit + 9 }))).toEqual(said(input, limit + 9));
  });

  it('that was stopped beyond its limit used no less than the limit, and what came beyond it', () => {
    expect(overrunUsage(showsAll, progress({ usage: said(300, 1), streamedTokens: 480, receivedTokens: 501 }))).toEqual(said(300, limit));
    expect(overrunUsage(showsAll, progress({ streamedTokens: 1_200, receivedTokens: 501 }))).toEqual(said(input, 1_200));
  });
});

describe('a failed attempt', () => {
  const failure = (status: number | undefined, details: Readonly<Record<string, unknown>> = {}, retryAfterMs?: number) =>
    new NexusError('provider_unavailable', 'failed', {
      details: { ...details, ...(status === undefined ? {} : { status }) },
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });

  it('used nothing when it was not sent', () => {
    expect(failureUsage(mayThink, progress({ sent: false }), cancelled)).toEqual(noUsage);
  });

  it.each([
    ['status 400', failure(400)],
    ['status 401', failure(401)],
    ['status 404', failure(404)],
    ['a redirect', failure(301)],
    ['status 413', failure(413)],
    ['status 429', failure(429)],
    ['status 529', failure(529)],
    ['status 503 with an error of the provider', failure(503, { providerCode: 'server_error' })],
    ['status 503 with a time to come back', failure(503, {}, 1_000)],
    ['status 500 that says that the provider is overloaded', failure(500, { providerCode: 'overloaded_error' })],
    ['an event that says so', failure(undefined, { providerCode: 'overloaded_error' })],
  ])('used nothing when the provider refused it with %s', (_what, error) => {
    expect(failureUsage(mayThink, progress(), error)).toEqual(noUsage);
  });

  it.each([
    ['status 500', failure(500, { providerCode: 'api_error' })],
    ['status 502', failure(502)],
    ['status 503 of a proxy', failure(503)],
    ['status 504', failure(504)],
    ['status 524', failure(524)],
    ['status 408', failure(408)],
    ['status 499', failure(499)],
    ['a broken connection', new NexusError('provider_stream_cut', 'cut')],
    ['silence', new NexusError('provider_timeout', 'silent')],
    ['a body that cannot be read', new NexusError('provider_malformed', 'html')],
    ['its reader', cancelled],
  ])('is charged its whole limit when %s ended it and nothing had come', (_what, error) => {
    expect(failureUsage(showsAll, progress(), error)).toEqual(said(input, limit));
    expect(failureUsage(mayThink, progress(), error)).toEqual(said(input, limit));
  });

  it('is charged what came and what may have been on its way, or all of its limit where the model may think unseen', () => {
    const cut = progress({ usage: said(300, 1), streamedTokens: 60, receivedTokens: 30 });
    expect(failureUsage(showsAll, cut, cancelled)).toEqual(said(300, 124));
    expect(failureUsage(mayThink, cut, cancelled)).toEqual(said(300, limit));
  });

  it('is charged although it was refused when something had come', () => {
    expect(failureUsage(showsAll, progress({ streamedTokens: 60 }), failure(529)).outputTokens).toBeGreaterThanOrEqual(60);
  });

  it('is charged what the provider says when that is its account of a whole answer', () => {
    const whole = progress({ usage: said(300, 40), final: true });
    expect(failureUsage(mayThink, whole, new NexusError('provider_malformed', 'not understood'))).toEqual(said(300, 40));
  });

  it('is charged what the provider says when it withheld the answer', () => {
    const withheld = new NexusError('content_filtered', 'withheld');
    expect(failureUsage(mayThink, progress({ usage: said(300, 40), receivedTokens: 10 }), withheld)).toEqual(said(300, 40));
  });
});

it('is never charged less than was received, nor than the provider says, whatever became of it [verifies budget.unknown.charged]', () => {
  const progresses = fc.record({
    sent: fc.constant(true),
    accounted: fc.boolean(),
    final: fc.boolean(),
    begun: fc.boolean(),
    usage: fc.option(fc.record({ inputTokens: fc.nat(2_000), outputTokens: fc.nat(2_000) }).map((some) => ({ ...noUsage, ...some }))),
    streamedTokens: fc.nat(2_000),
    receivedTokens: fc.nat(600),
  });
  const errors = fc.constantFrom(cancelled, new NexusError('provider_stream_cut', 'cut'), new NexusError('content_filtered', 'withheld'));
  fc.assert(
    fc.property(progresses, errors, fc.boolean(), (some, error, thinks) => {
      const known = { ...some, receivedTokens: Math.min(some.receivedTokens, some.streamedTokens) };
      const all = [answerUsage(terms(thinks), known), overrunUsage(terms(thinks), known), failureUsage(terms(thinks), known, error)];
      for (const { inputTokens, outputTokens } of all) {
        expect(outputTokens).toBeGreaterThanOrEqual(Math.max(known.receivedTokens, known.usage?.outputTokens ?? 0));
        expect(inputTokens).toBeGreaterThanOrEqual(known.usage?.inputTokens ?? input);
      }
    }),
  );
});
