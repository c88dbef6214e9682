import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSecretValues, NexusError } from '#core';
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

/** Made up, and joined here so that no scanner takes this file for a leak. The second part must never be seen. */
const letters = 'Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1St0Uv9Wx8Yz7A';
const keys = fc.constantFrom<readonly [string, string]>(
  ['sk-', letters],
  ['sk-proj-', `${letters}_${letters}`],
  ['sk-ant-api03-', `${letters}-${letters}AA`],
  ['AIza', `SyA-9${letters.slice(0, 30)}`],
  ['gsk_', letters],
  ['xai-', letters],
  ['AKIA', 'IOSFODNN7EXAMPLE'],
  ['ghp_', letters.slice(0, 36)],
  ['nx_01jd8z6q4ne7r9k2m5v8w0x3y6_', letters],
  ['Bearer ', letters],
  ['Authorization: Basic ', letters],
  ['https://user:', `${letters}@host.example/path`],
  ['postgres://user:', `${letters}@host:5432/db`],
);
/** Everywhere that a text can stand in a line. */
const places: Record<string, (text: string) => readonly [object, string]> = {
  message: (text) => [{}, text],
  field: (text) => [{ note: text }, 'event'],
  'name of a field': (text) => [{ [text]: 1 }, 'event'],
  nested: (text) => [{ a: [{ b: { c: [text] } }] }, 'event'],
  address: (text) => [{ url: new URL(`https://host.example/?said=${encodeURIComponent(text.toWellFormed())}`) }, 'event'],
  error: (text) => [{ err: new Error(text) }, 'event'],
  'cause of an error': (text) => [{ err: new Error('failed', { cause: new Error('inside', { cause: { said: [text] } }) }) }, 'event'],
  'code of an error': (text) => [{ err: Object.assign(new Error('failed'), { code: text, name: text }) }, 'event'],
  json: (text) => [{ note: JSON.stringify({ body: JSON.stringify({ said: text }) }) }, 'event'],
};

it('never writes a key of any shape, wherever it stands and wherever the text is cut [verifies telemetry.no-keys]', () => {
  const filler = fc.oneof(
    fc.string({ maxLength: 40 }),
    // Where a line is cut, a key may be half inside.
    fc.integer({ min: 1_900, max: 3_200 }).map((length) => 'x y '.repeat(length / 4)),
  );
  const around = fc.constantFrom([' ', ' '], ['"', '"'], ["'", "',"], ['=', '&'], ['(', ')'], ['\n', '\n'], [': ', ';']);
  fc.assert(
    fc.property(
      keys,
      fc.constantFrom(...Object.keys(places)),
      filler,
      around,
      fc.integer({ min: 18, max: 200 }),
      fc.boolean(),
      ([shape, secret], place, before, [open, close], kept, pretty) => {
        const { logger, lines } = capture({ pretty });
        // As whole as it was, or with its end cut off by whoever wrote it down before.
        const isWhole = kept >= secret.length || secret.includes('@');
        const text = `${before}${open}${shape}${isWhole ? `${secret}${close}` : secret.slice(0, kept)}`;
        const [fields, message] = places[place]?.(text) ?? [{}, text];
        logger.info(fields, message);
        logger.child(fields).error(fields, message);
        const written = lines.join('');
        const end = isWhole ? (secret.split('@')[0]?.length ?? 0) : kept;
        for (let at = 0; at + 14 <= end; at += 7) expect(written).not.toContain(secret.slice(at, at + 14));
      },
    ),
    { numRuns: 1_500 },
  );
});

describe('lines for people and for programs', () => {
  const evil = 'x\u001b[2J\r\n12:00:00.000 INFO  forged  a=b\u009b31m\u202e\u2028z';

  it.each([true, false])(
    'hold nothing that a terminal obeys or that passes for a line of ours, pretty: %s [verifies hostile.leak.visible]',
    (pretty) => {
      const written: string[] = [];
      const logger = createLogger({ level: 'info', pretty, destination: { write: (line) => written.push(line) } });
      logger.warn({ name: evil, [evil]: 1, nested: { evil }, err: new Error(evil) }, evil);
      const text = written.join('');
      expect(text).not.toMatch(/[^\P{Cc}\n\t]|[\u2028-\u202e]/u);
      expect(text.split('\n').filter((line) => line.startsWith('12:00:00.000'))).toEqual([]);
      if (!pretty) expect(JSON.parse(text).name).toBe(evil);
    },
  );

  it('hold none of the secrets that are known, in whatever field [verifies hostile.leak.log]', () => {
    const written: string[] = [];
    const secret = 'Zq3vX8tR2pLw';
    const logger = createLogger({
      level: 'info',
      secrets: createSecretValues([secret]),
      destination: { write: (line) => written.push(line) },
    });
    const cause = new Error(`sent ${secret}`);
    logger
      .child({ of: secret })
      .warn({ a: { [`a name ${secret}`]: [secret] }, err: new Error(`no ${secret}`, { cause }) }, `it was ${secret}`);
    expect(written.join('')).toContain('[redacted]');
    expect(written.join('')).not.toContain(secret);
  });
});
