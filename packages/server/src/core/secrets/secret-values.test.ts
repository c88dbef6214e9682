import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSecretValues } from './secret-values.ts';

const removed = '[redacted]';
const keys = {
  'a key of a well-known maker': 'sk-proj-Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1',
  'a key without a shape': 'Zq3vX8tR2pLw',
  'a key in hexadecimal': '4f1c9a77d02be6538c1f',
  'a key in base64': 'aGVs/bG8+d29ybGQ/Zm9v==',
  'a UUID': '3b241101-e2bb-4255-8caf-4136c566a962',
  'a short password': 'hunter2!',
  'a password with signs': `p@ss:w/r?d#"&<'>\\ %+=`,
  'a password of another script': 'пароль-Ключ-日本',
  'a phrase': 'correct horse battery staple',
};
const spellings: Readonly<Record<string, (key: string) => string>> = {
  plain: (key) => key,
  'in JSON': (key) => JSON.stringify(key).slice(1, -1),
  'in JSON within JSON': (key) => JSON.stringify(JSON.stringify(key).slice(1, -1)).slice(1, -1),
  'in JSON of Go': (key) =>
    JSON.stringify(key)
      .slice(1, -1)
      .replace(/[<>&'\u0080-\uffff]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`),
  'in JSON of PHP': (key) => JSON.stringify(key).slice(1, -1).replaceAll('/', '\\/'),
  'in an address': encodeURIComponent,
  'in an address, in small letters': (key) => encodeURIComponent(key).replace(/%../g, (sign) => sign.toLowerCase()),
  'in an address, twice': (key) => encodeURIComponent(encodeURIComponent(key)),
  'in a form': (key) => new URLSearchParams({ key }).toString().slice(4),
  'in HTML': (key) =>
    key.replace(/[&<>"']/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[sign] ?? ''),
  'in hexadecimal': (key) => Buffer.from(key).toString('hex'),
  'in large hexadecimal': (key) => Buffer.from(key).toString('hex').toUpperCase(),
};

describe.each(Object.entries(keys))('%s', (_name, key) => {
  const secrets = createSecretValues([key]);

  it.each(Object.entries(spellings))('is taken out of a text %s, and the rest stays', (_how, spell) => {
    expect(secrets.inText(`the key "${spell(key)}" is wrong`)).toBe(`the key "${removed}" is wrong`);
  });

  it('is taken out of base64 of any text that it is in, in both alphabets', () => {
    for (const before of ['', 'a', 'ab', 'user:', 'Bearer ']) {
      for (const alphabet of ['base64', 'base64url'] as const) {
        const text = Buffer.from(`${before}${key} and more`).toString(alphabet);
        const clean = secrets.inText(text);
        expect(clean).toContain(removed);
        expect(Buffer.from(clean.replace(removed, ''), alphabet).toString('utf8')).not.toContain(key.slice(2, 6));
      }
    }
  });

  it('is found whatever the pieces in which a text comes', () => {
    const text = fc
      .array(
        fc.constantFrom(
          key,
          key.slice(0, -1),
          key.slice(1),
          key.slice(0, 3),
          ...Object.values(spellings).map((spell) => spell(key)),
          'a ',
          '"',
        ),
        {
          maxLength: 6,
        },
      )
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, fc.array(fc.nat(40), { minLength: 1, maxLength: 30 }), (whole, sizes) => {
        const stream = secrets.stream();
        let told = '';
        for (let at = 0, turn = 0; at < whole.length; turn += 1) {
          const size = 1 + (sizes[turn % sizes.length] ?? 0);
          told += stream.push(whole.slice(at, at + size));
          at += size;
        }
        expect(told + stream.end()).toBe(secrets.inText(whole));
      }),
    );
  });
});

it('holds back no more than may be the beginning of a secret', () => {
  const stream = createSecretValues(['sk-Ab9Cd8Ef7Gh6']).stream();
  expect(stream.push('a task-')).toBe('a ta');
  expect(stream.push('force')).toBe('sk-force');
  expect(stream.push(' ask-Ab9Cd8')).toBe(' a');
  expect(stream.end()).toBe('sk-Ab9Cd8');
});

it('searches every text for what no word is, and errors for short words too', () => {
  const secrets = createSecretValues(['postgres', 'ollama', 'Passwort', '20241021', 'hunter2', 'short', 'abcdefghijklmnop']);
  const text = 'postgres ollama Passwort 20241021 short';
  expect(secrets.inText(`${text} hunter2 abcdefghijklmnop`)).toBe(`${text} ${removed} ${removed}`);
  expect(secrets.inErrors(text)).toBe(`${removed} ${removed} ${removed} ${removed} short`);
});

it('takes also a part of a long secret out of what a server says that was sent it', () => {
  const key = 'Zq3vX8tR2pLwUn5mKd7s';
  const secrets = createSecretValues([key]);
  for (const part of [key.slice(0, 12), key.slice(5), key.slice(3, 17), `x${key.slice(0, -1)}`])
    expect(secrets.inForeign(`wrong: ${part}.`)).toMatch(/^wrong: x?\[redacted\]\.$/);
  expect(secrets.inForeign('wrong: Zq3v****Kd7s')).toBe('wrong: Zq3v****Kd7s');
});

it('goes through data, its names included, and gives what holds nothing back as it is', () => {
  const secrets = createSecretValues(['hunter2!']);
  const plain = { a: [{ b: 'x', c: null, d: 1 }], e: 'hunter' };
  expect(secrets.inData(plain)).toBe(plain);
  expect(secrets.inData({ a: ['hunter2!', { 'hunter2!': 1 }], b: plain })).toEqual({ a: [removed, { [removed]: 1 }], b: plain });
  expect(createSecretValues([]).inData(plain)).toBe(plain);
});

it('learns of more secrets later', () => {
  const secrets = createSecretValues(['hunter2!']);
  secrets.add(['token-of-the-operator-1']);
  expect(secrets.inText('hunter2! token-of-the-operator-1')).toBe(`${removed} ${removed}`);
});

it('costs a few microseconds for an event with twenty secrets', () => {
  const secrets = createSecretValues(Array.from({ length: 20 }, (_, index) => `sk-${index}-Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1`));
  const event = { type: 'tool.completed', data: { name: 'fs_read', output: 'some words of a result, as they are. '.repeat(25), n: 1 } };
  for (let turn = 0; turn < 2_000; turn += 1) secrets.inData(event);
  const startedAt = process.cpuUsage().user;
  for (let turn = 0; turn < 2_000; turn += 1) secrets.inData(event);
  // About 4 µs; what searches for each spelling by itself takes fifty times as long.
  expect((process.cpuUsage().user - startedAt) / 2_000).toBeLessThan(60);
});
