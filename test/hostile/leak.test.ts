import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Repeats, startLeakyProvider } from './support/leaky-provider.ts';
import { databases, startVictim, type Victim } from './support/victim.ts';

/** Keys of nine forms: what a shape tells, and what none does. */
const keys = {
  openai: 'sk-proj-Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1',
  short: 'Zq3vX8tR',
  plain: 'vRq8zLw2Np5xTd7m',
  hexadecimal: '4f1c9a77d02be6538c1f4f1c9a77d02b',
  base64: 'aGVs/bG8+d29ybGQ/Zm9vYg==',
  uuid: '3b241101-e2bb-4255-8caf-4136c566a962',
  words: 'correct-horse-battery-staple',
  signs: 'k&y<w>i"th:s/i?g#ns1',
  dotted: 'team.member.9f8e7d6c5b4a.live',
};
type KeyName = keyof typeof keys;
const names = Object.keys(keys) as KeyName[];

/** What of a key must be nowhere: its middle, in the spellings that a reader undoes at once. */
function tracesOf(key: string): string[] {
  const core = key.slice(1, -1);
  return [
    core,
    encodeURIComponent(core),
    Buffer.from(key).toString('hex'),
    Buffer.from(key).toString('base64'),
    JSON.stringify(core).slice(1, -1),
  ];
}

const says: Readonly<Record<string, (key: string) => string>> = {
  plain: (key) => `the key ${key} is not right`,
  'in a header': (key) => `you sent {"authorization":"Bearer ${key}"}`,
  'in base64': (key) => `sent: ${Buffer.from(`user:${key}`).toString('base64')}`,
  'in an address': (key) => `see https://example.com/?key=${encodeURIComponent(key)}&x=1`,
  'in hexadecimal': (key) => Buffer.from(key).toString('hex'),
  'behind a text that is cut': (key) => `${'words of an error '.repeat(16)}${key} and more`,
  'with its end cut off': (key) => `the key ${key.slice(0, -2)}`,
};

/** All files below a folder, as one text. */
function filesOf(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => readFileSync(path, 'latin1'))
    .join('\n');
}

describe.each(await databases())('a provider that repeats our key, on %s', (database) => {
  let victim: Victim;
  let provider: Awaited<ReturnType<typeof startLeakyProvider>>;

  beforeAll(async () => {
    provider = await startLeakyProvider();
    const compatible = names.map((name) => ({ name, baseUrl: `${provider.url}/v1`, models: ['m'], apiKey: keys[name], price: 'free' }));
    victim = await startVictim({
      database,
      config: { providers: { compatible }, log: { level: 'debug' }, llm: { maxAttempts: 1 }, sim: { enabled: 'on' } },
    });
    for (const name of names) await victim.agent(name, { models: [`${name}/m`] });
  });
  afterAll(async () => {
    await victim?.close();
    await provider?.close();
  });

  /** All that anybody can read of one run: its stream, itself, its log, and what the server wrote. */
  async function toldOf(name: KeyName, how: Repeats): Promise<string> {
    provider.repeat(how);
    const stream = await victim.call('POST', '/v1/agents/chat/stream', { agent: name, input: 'hello' });
    const runId = /run_[0-9a-z]{26}/.exec(stream.text)?.[0] ?? '';
    const run = await victim.end(runId);
    const events = await victim.call('GET', `/v1/runs/${runId}/events`);
    const messages = await victim.call('GET', `/v1/sessions/${run.sessionId}/messages`);
    return [stream.text, JSON.stringify(run), events.text, messages.text].join('\n');
  }

  it.each(names)('shows no key of the form %s, at any status, in any place [verifies hostile.leak.provider]', async (name) => {
    for (const [what, say] of Object.entries(says)) {
      for (const status of database === 'sqlite' ? [400, 401, 404, 429, 500] : [400, 500]) {
        const told = await toldOf(name, { status, say });
        // Of a short key the first characters are no secret that could be told from other text.
        if (what === 'with its end cut off' && keys[name].length < 16) continue;
        const traces = what === 'with its end cut off' ? [keys[name].slice(1, 13)] : tracesOf(keys[name]);
        for (const trace of traces) expect(told, `${what} ${status}`).not.toContain(trace);
      }
    }
  });

  it('shows none from odd places of an error [verifies hostile.leak.provider]', async () => {
    const bodies: ((text: string) => unknown)[] = [
      (text) => ({ error: text }),
      (text) => ({ detail: [{ loc: ['body', text], msg: text }] }),
      (text) => [{ error: { message: 'm', code: text, param: text, status: text } }],
      (text) => ({ error: { type: text, code: text, param: text } }),
      (text) => ({ message: text.split('').join('\u200b') + text }),
    ];
    for (const body of bodies) {
      const told = await toldOf('plain', { status: 400, say: (key) => key, body, headers: (key) => ({ 'x-request-id': `r-${key}` }) });
      for (const trace of tracesOf(keys.plain)) expect(told).not.toContain(trace);
    }
    const elsewhere = await toldOf('plain', { status: 302, say: () => '', headers: (key) => ({ location: `https://example.com/${key}` }) });
    expect(elsewhere).toContain('redirects');
    expect(elsewhere).not.toContain(keys.plain);
  });

  it.each([1, 3, 7, 1000])(
    'shows none that a model says in pieces of %i characters, and all the rest [verifies hostile.leak.model]',
    async (pieceChars) => {
      for (const name of names) {
        const told = await toldOf(name, {
          status: 200,
          pieceChars,
          say: (key) => `before ${key} between "${key}" after ${key.slice(0, 5)}`,
        });
        for (const trace of tracesOf(keys[name])) expect(told, name).not.toContain(trace);
        const message = `before [redacted] between "[redacted]" after ${keys[name].slice(0, 5)}`;
        expect(told).toContain(JSON.stringify(message).slice(1, -1));
        const deltas = [...told.matchAll(/^data: (\{"type":"model\.delta".*)$/gm)].map(([, data = '']) => JSON.parse(data).data.text);
        expect(deltas.join('')).toBe(message);
      }
    },
  );

  it('has written none of them anywhere [verifies hostile.leak.provider]', async () => {
    const written = victim.output() + filesOf(victim.dataDir) + (await (await fetch(`${victim.url}/metrics`)).text());
    for (const name of names) for (const trace of tracesOf(keys[name])) expect(written.includes(trace), `${name} ${trace}`).toBe(false);
  });
});
