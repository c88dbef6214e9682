import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSecretValues, NexusError, noSecrets, parseExactJson, systemTimers } from '#core';
import type { BlobStore } from '#storage';
import { withoutArtifact } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { keepLong, type LongRules } from './long-result.ts';

const max = 1_000;
const secret = 'sk-proj-Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1';

/** Keeps what it is given, in memory. */
function createMemory() {
  const kept: Buffer[] = [];
  const put: BlobStore['put'] = async ({ bytes, sha256 }, read) => {
    const pieces: Uint8Array[] = [];
    for await (const piece of read()) pieces.push(piece);
    const all = Buffer.concat(pieces);
    expect([all.length, createHash('sha256').update(all).digest('hex')]).toEqual([bytes, sha256]);
    kept.push(all);
  };
  return { kept, put };
}

const rulesOf = (put: BlobStore['put'], change: Partial<LongRules> = {}, maxBytes = 1_000_000): LongRules => ({
  ...{ maxOutputChars: max, secrets: noSecrets, timers: systemTimers, isReader: true },
  artifacts: { blobs: { put }, nextId: () => 'art_1', maxBytes },
  onFault: (error) => expect.fail(String(error)),
  ...change,
});
const keep = (rules: LongRules, text: string, note = '', signal = new AbortController().signal) =>
  keepLong(rules, { tenantId: 'default', text, sections: [], mediaType: 'text/plain' }, note, signal);

it('keeps any text up to its bound, whole characters and no secrets, and counts what it keeps [verifies tools.artifacts.kept]', async () => {
  const secrets = createSecretValues([secret]);
  const part = fc.constantFrom('€', '😀', '\n', 'x', '\r\n', '\ud83d', '\ude00', secret, secret.slice(0, 9), '0123456789'.repeat(9));
  const texts = fc.tuple(
    fc.array(part, { minLength: 1, maxLength: 60 }),
    fc.integer({ min: 1, max: 2_500 }),
    fc.integer({ min: 2_000, max: 60_000 }),
  );
  await fc.assert(
    fc.asyncProperty(texts, async ([parts, times, maxBytes]) => {
      const { kept, put } = createMemory();
      const text = parts.join('').repeat(times);
      const { output, artifact } = await keep(rulesOf(put, { secrets }, maxBytes), text);
      const whole = secrets.inText(text).toWellFormed();
      expect(output.length).toBeLessThanOrEqual(max);
      if (artifact === undefined) {
        expect(whole.length <= max || Buffer.byteLength(whole) > maxBytes).toBe(true);
        return;
      }
      const content = kept[0]?.toString('utf8') ?? '';
      expect(whole.startsWith(content)).toBe(true);
      expect(artifact.whole).toBe(content === whole);
      if (!artifact.whole) expect(maxBytes - artifact.bytes).toBeLessThan(4);
      const lines = content.split('\n').length - (content.endsWith('\n') ? 1 : 0);
      expect(artifact).toMatchObject({ bytes: kept[0]?.length, characters: content.length, lines });
      const { shownChars } = artifact.cut;
      expect(output.slice(0, shownChars).toWellFormed()).toBe(content.slice(0, shownChars));
      expect(output.slice(shownChars)).toContain('artifact art_1');
    }),
    { numRuns: 150 },
  );
});

it('takes a secret out that lies across two slices of the text [verifies tools.artifacts.kept]', async () => {
  const { kept, put } = createMemory();
  await keep(rulesOf(put, { secrets: createSecretValues([secret]) }), `${'x'.repeat(64 * 1024 - 9)}${secret}${'y'.repeat(9)}`);
  expect(kept[0]?.toString('utf8').slice(-30)).toBe(`${'x'.repeat(11)}[redacted]${'y'.repeat(9)}`);
});

it('keeps a pair whole that lies across two slices of the text [verifies tools.artifacts.kept]', async () => {
  const { kept, put } = createMemory();
  const text = `${'x'.repeat(64 * 1024 - 1)}😀 and more`;
  const { artifact } = await keep(rulesOf(put), text);
  expect([kept[0]?.toString('utf8'), artifact?.characters]).toEqual([text, text.length]);
});

it('gives others their turn while it keeps a result of 50 MB, of which it holds no more than it keeps [verifies tools.artifacts.kept]', async () => {
  const { kept, put } = createMemory();
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 0);
  const { output, artifact } = await keep(rulesOf(put, {}, 4_000_000), 'line of a log\n'.repeat(3_600_000));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(3);
  expect([kept[0]?.length, artifact?.whole, artifact?.characters]).toEqual([4_000_000, false, 4_000_000]);
  expect(output).toMatch(
    /first \d+ of 50400000 characters are shown; only the first 4000000 characters \(4000000 bytes, \d+ lines\) are kept/,
  );
});

it('says how to read on to whoever can, and what else there was to say [verifies tools.artifacts.kept]', async () => {
  const { put } = createMemory();
  const text = 'word '.repeat(1_000);
  const reader = await keep(rulesOf(put), text, 'a file was left out');
  expect(reader.output).toMatch(
    /all of it, in 1 line, is kept as the artifact art_1; artifact_read with id art_1 .*\]\na file was left out$/,
  );
  const other = await keep(rulesOf(put, { isReader: false }), text);
  expect(other.output).toMatch(/people can read it by the API/);
  expect(other.output).not.toContain('artifact_read');
  const end = { type: 'completed', ...reader };
  const cut = withoutArtifact(end);
  expect(cut).not.toHaveProperty('artifact');
  expect(cut.output.length).toBeLessThanOrEqual(max);
  expect(cut.output).toMatch(
    /^(word )+\w* ?\n\[output cut: the first \d+ of 5000 characters are shown; ask for a smaller part .*\]\na file was left out$/,
  );
});

it('cuts what cannot be kept, whatever the store does [verifies tools.artifacts.refused]', async () => {
  const text = 'x'.repeat(5_000);
  const plain = /^x+\n\[output cut: the first \d+ of 5000 characters are shown; ask for a smaller part to see the rest\]\nnote$/;
  const refusing = await keep(
    rulesOf(() => Promise.reject(new NexusError('storage_unavailable', 'no'))),
    text,
    'note',
  );
  expect(refusing).toEqual({ output: expect.stringMatching(plain) });
  const faults: unknown[] = [];
  const broken = await keep(
    rulesOf(() => Promise.reject(new TypeError('odd')), { onFault: (error) => faults.push(error) }),
    text,
    'note',
  );
  expect([broken, faults]).toEqual([{ output: expect.stringMatching(plain) }, [expect.any(TypeError)]]);
  const controller = new AbortController();
  const silent = keep(
    rulesOf(() => new Promise(() => undefined)),
    text,
    'note',
    controller.signal,
  );
  setTimeout(() => controller.abort(), 5);
  expect(await silent).toEqual({ output: expect.stringMatching(plain) });
  // Nobody waits any more when the store says no: that ends nothing else.
  const late = keep(
    rulesOf(() => new Promise((_, reject) => setTimeout(reject, 5, new Error('late')))),
    text,
    'note',
    AbortSignal.abort(),
  );
  expect(await late).toEqual({ output: expect.stringMatching(plain) });
  await new Promise((resolve) => setTimeout(resolve, 20));
});

it('keeps what a tool gave, and nothing of a tool that reads artifacts [verifies tools.artifacts.kept]', async () => {
  const { kept, put } = createMemory();
  const execute = async () => ({ type: 'ok' as const, output: { text: 'x'.repeat(2_000) } });
  const tools = [makeTool({ name: 'big', execute }), makeTool({ name: 'reads', execute, permissions: ['fs.read'], ofArtifacts: true })];
  const artifacts = { blobs: { put }, nextId: () => 'art_1', maxBytes: 10_000 };
  const service = createTestToolService(tools, { maxOutputChars: max, artifacts });
  const big = await readCall(service, makeToolCall({ toolName: 'big' }));
  expect(big).toMatchObject({
    type: 'completed',
    artifact: { artifactId: 'art_1', mediaType: 'text/plain', bytes: 2_045, whole: true },
  });
  const reads = await readCall(service, makeToolCall({ toolName: 'reads' }));
  expect(reads).toMatchObject({ type: 'completed', output: expect.stringMatching(/ask for a smaller part/) });
  expect(reads).not.toHaveProperty('artifact');
  expect(kept).toHaveLength(1);
});

describe('a result with long texts in it', () => {
  const keepValue = async (output: unknown, { maxBytes = 1_000_000, secrets = noSecrets } = {}) => {
    const { kept, put } = createMemory();
    const artifacts = { blobs: { put }, nextId: () => 'art_1', maxBytes };
    const tool = makeTool({ name: 'big', execute: async () => ({ type: 'ok', output }) });
    const service = createTestToolService([tool], { maxOutputChars: 4_000, artifacts, secrets });
    const end = await readCall(service, makeToolCall({ toolName: 'big' }));
    if (end.type !== 'completed') throw new Error(JSON.stringify(end));
    const content = kept[0]?.toString('utf8') ?? '';
    const linesOf = (name: string) => {
      const [, from, to] = new RegExp(`; ${name} is in lines (\\d+) to (\\d+)`).exec(end.output) ?? [];
      return content
        .split('\n')
        .slice(Number(from) - 1, Number(to))
        .join('\n');
    };
    return { ...end, content, linesOf };
  };
  const pem = '-----BEGIN KEY-----\nAb9Cd8Ef7Gh6\nIj5Kl4Mn3Op2\n-----END KEY-----';
  const stdout = Array.from({ length: 500 }, (_, index) => `"line" ${index}\tgrüße`).join('\n');
  const stderr = `${'warning\n'.repeat(200)}end`;

  it('is kept as text with real lines, and says in which lines each is [verifies tools.artifacts.lines]', async () => {
    const secrets = createSecretValues([pem]);
    const { output, content, artifact, linesOf } = await keepValue({ exitCode: 3, stdout: `${pem}\n${stdout}`, stderr }, { secrets });
    expect(artifact).toMatchObject({ mediaType: 'text/plain', whole: true, lines: content.split('\n').length });
    expect(linesOf('stdout')).toBe(`[redacted]\n${stdout}`);
    expect(linesOf('stderr')).toBe(stderr);
    expect(output).toMatch(/^\{\n "exitCode": 3,\n "stdout": "\[below, as stdout\]"/);
  });

  it('tells no lines that are not kept, and nothing of what is short [verifies tools.artifacts.lines]', async () => {
    const cut = await keepValue({ exitCode: 3, stdout, stderr }, { maxBytes: 5_000 });
    expect(cut.output).not.toMatch(/stderr is in/);
    expect(stdout.startsWith(cut.linesOf('stdout'))).toBe(true);
    const nested = await keepValue({ pages: [{ body: stdout, title: 'short\nstays' }] });
    expect(nested.linesOf('pages.0.body')).toBe(stdout);
    expect(nested.content).toContain('"title": "short\\nstays"');
  });

  it('without any is JSON still, with a line for each value, all digits and all names as they were [verifies tools.artifacts.lines]', async () => {
    const rows = Array.from({ length: 300 }, (_, id) => ({ id, ['__proto__']: 'p' }));
    const digits = parseExactJson('{"long":12345678901234567890123}');
    const { content, artifact } = await keepValue({ rows, digits });
    expect(artifact).toMatchObject({ mediaType: 'application/json', lines: 300 * 4 + 7 });
    expect(JSON.parse(content).rows).toEqual(rows);
    expect(content).toContain('"long": 12345678901234567890123');
  });
});
