import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualClock } from '#core/testing';
import { createLogger } from './index.ts';
import { silentLogger } from './testing/index.ts';

function capture(options: Partial<Parameters<typeof createLogger>[0]> = {}) {
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', destination: { write: (line) => lines.push(line) }, ...options });
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}

it('writes one JSON object per event, with the fields of its parents', () => {
  const { logger, lines, last } = capture({ clock: createManualClock(Date.UTC(2026, 0, 1)) });
  logger.child({ runId: 'run_1' }).child({ step: 2 }).info({ durationMs: 3 }, 'tool call completed');
  expect(lines).toHaveLength(1);
  expect(last()).toEqual({
    level: 'info',
    time: '2026-01-01T00:00:00.000Z',
    runId: 'run_1',
    step: 2,
    durationMs: 3,
    message: 'tool call completed',
  });
});

it('leaves out what is below the level', () => {
  const { logger, lines } = capture({ level: 'warn' });
  logger.info({}, 'no');
  logger.child({}).debug({}, 'no');
  logger.warn({}, 'yes');
  expect(lines).toHaveLength(1);
});

it.each([
  [
    'credentials by name',
    {
      headers: { Authorization: 'abc', 'x-api-key': 'abc' },
      apiKey: 'abc',
      openaiApiKey: 'abc',
      nested: [{ clientSecret: 'abc' }],
      sessionToken: 'abc',
    },
  ],
  [
    'credentials inside a text',
    { url: 'https://bob:abcabcabc@host/', header: 'Bearer abcabcabc', key: 'nx_k1_abcabcabc', note: 'used sk-abcabcabc today' },
  ],
  ['what people and models wrote', { prompt: 'abc', messages: [{ content: 'abc' }], arguments: { path: 'abc' }, deep: { output: 'abc' } }],
])('never writes %s', (_, fields) => {
  const { logger, lines } = capture();
  logger.info(fields, 'event');
  logger.child(fields).info({}, 'event');
  logger.error({ err: new Error('failed', { cause: fields }) }, 'event');
  expect(lines.join('')).not.toContain('abc');
  expect(lines.join('')).toContain('[redacted]');
});

it('keeps what merely sounds alike', () => {
  const { logger, last } = capture();
  logger.info({ inputTokens: 3, tokens: 4, keyId: 'k', secretName: 's', outputPath: '/a' }, 'event');
  expect(last()).toMatchObject({ inputTokens: 3, tokens: 4, keyId: 'k', secretName: 's', outputPath: '/a' });
});

it('writes errors as data with their causes, and without their details', () => {
  const { logger, lines, last } = capture();
  const error = new NexusError('provider_rejected', 'the provider refused', {
    details: { body: 'hidden' },
    cause: new TypeError('bad header'),
  });
  logger.error({ err: error }, 'call failed');
  expect(last().err).toMatchObject({
    type: 'NexusError',
    code: 'provider_rejected',
    message: 'the provider refused',
    stack: expect.stringContaining('logger.test.ts'),
    cause: { type: 'TypeError', message: 'bad header' },
  });
  expect(lines.join('')).not.toContain('hidden');
});

it('survives whatever it is given, within bounds', () => {
  const { logger, lines } = capture();
  const circular: Record<string, unknown> = {
    big: 10n,
    long: 'x'.repeat(100_000),
    many: Array.from({ length: 1000 }, (_, index) => index),
  };
  circular.self = circular;
  logger.info(circular, 'event');
  expect(lines[0]?.length).toBeLessThan(30_000);
});

it('writes lines for people when asked', () => {
  const { logger, lines } = capture({ pretty: true });
  logger.child({ port: 8080 }).warn({ err: new Error('broken', { cause: new Error('why') }) }, 'odd');
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} WARN {2}odd {2}port=8080\n {2}Error: broken\n[\s\S]* caused by:\n {2}Error: why/);
});

it('has a silent twin', () => {
  silentLogger.child({}).error({}, 'nothing');
  expect(silentLogger.child({})).toBe(silentLogger);
});
