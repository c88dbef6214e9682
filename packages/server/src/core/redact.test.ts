import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NexusError } from './errors.ts';
import { redactFields, redactForeignText, redactText } from './redact.ts';

const removed = '[redacted]';
const base62 = 'Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1St0Uv9Wx8Yz7A';

/** A credential of each shape, made up. The parts are joined here so that no scanner takes this file for a leak. */
const secrets: Record<string, string> = {
  'an OpenAI key': ['sk', base62].join('-'),
  'an OpenAI project key': ['sk-proj', `${base62}_${base62}`].join('-'),
  'an OpenAI key as it is shown again': ['sk', 'pr**********************7Gh6'].join('-'),
  'an Anthropic key': ['sk-ant-api03', `${base62}-${base62}AA`].join('-'),
  'a key of ours': ['nx', '01jd8z6q4ne7r9k2m5v8w0x3y6', base62.slice(0, 20), 'x-y'].join('_'),
  'an AWS key id': ['AKIA', 'IOSFODNN7EXAMPLE'].join(''),
  'a temporary AWS key id': ['ASIA', 'IOSFODNN7EXAMPLE'].join(''),
  'a Google key': ['AIza', 'SyA-9Cd8_f7Gh6Ij5Kl4Mn3Op2Qr1St0Uv9'].join(''),
  'a Google access token': ['ya29', `${base62}_a-b`].join('.'),
  'a GitHub token': ['ghp', base62.slice(0, 36)].join('_'),
  'a GitHub app token': ['ghs', base62.slice(0, 36)].join('_'),
  'a fine-grained GitHub token': ['github', 'pat', base62.slice(0, 22), base62].join('_'),
  'a GitLab token': ['glpat', base62.slice(0, 20)].join('-'),
  'an npm token': ['npm', base62.slice(0, 36)].join('_'),
  'a Slack token': ['xoxb', '123456789012', '1234567890123', base62.slice(0, 24)].join('-'),
  'a Slack app token': ['xapp', '1', 'A0123456789', base62.slice(0, 24)].join('-'),
  'a Stripe key': ['sk', 'live', base62.slice(0, 24)].join('_'),
  'a Groq key': ['gsk', base62].join('_'),
  'a Hugging Face token': ['hf', base62.slice(0, 34)].join('_'),
  'an xAI key': ['xai', base62].join('-'),
  'a Perplexity key': ['pplx', base62].join('-'),
  'a Replicate token': ['r8', base62].join('_'),
  'a Together key': ['tgp', 'v1', base62].join('_'),
  'a Fireworks key': ['fw', base62.slice(0, 24)].join('_'),
  'a Cerebras key': ['csk', base62].join('-'),
  'an NVIDIA key': ['nvapi', `${base62}_${base62}`].join('-'),
  'a Voyage key': ['pa', `${base62}_x-y`].join('-'),
  'a Tavily key': ['tvly', base62.slice(0, 32)].join('-'),
  'a LangSmith key': ['lsv2', 'pt', '0123456789abcdef'.repeat(2), '0123456789'].join('_'),
  'an E2B key': ['e2b', '0123456789abcdef'.repeat(2)].join('_'),
  'an ElevenLabs key': ['sk', '0123456789abcdef'.repeat(3)].join('_'),
  'a SendGrid key': ['SG', base62.slice(0, 22), base62].join('.'),
  'a Telegram token': ['123456789', `AA${base62.slice(0, 33)}`].join(':'),
  'a PyPI token': ['pypi', base62].join('-'),
  'a Vault token': ['hvs', base62].join('.'),
  'a Databricks token': ['dapi', '0123456789abcdef'.repeat(2)].join(''),
  'a Shopify token': ['shpat', '0123456789abcdef'.repeat(2)].join('_'),
  'a JSON Web Token': ['eyJhbGciOiJIUzI1NiJ9', 'eyJzdWIiOiIxMjM0NTY3ODkwIn0', 'dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U'].join('.'),
  'a private key': [
    '-----BEGIN RSA PRIVATE ',
    `KEY-----\nProc-Type: 4,ENCRYPTED\n\n${base62}\n${base62}=\n-----END RSA PRIVATE KEY-----`,
  ].join(''),
  'a private key on one line': ['-----BEGIN PRIVATE ', `KEY-----\\n${base62}\\n-----END PRIVATE KEY-----`].join(''),
};

/** What names the secret stays. */
const named: Record<string, readonly [string, string, string]> = {
  'a bearer token': ['Bearer ', 'abcDEF.123~+/=', ''],
  'basic credentials': ['Authorization: Basic ', 'dXNlcjpwYXNz', ''],
  'a key of Azure': ['api-key: ', '0123456789abcdef0123456789abcdef', ''],
  'a key in JSON': ['{"apiKey":"', 'abc-123-def', '"}'],
  'a key in JSON inside JSON': ['{\\"api_key\\":\\"', 'abc-123-def', '\\"}'],
  'a token in an address': ['https://h/p?a=1&access_token=', 'abc123def', '&b=2'],
  'a password in a setting': ['PGPASSWORD=', 'hunter22', ''],
  'a secret key of AWS': ['AWS_SECRET_ACCESS_KEY=', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', ''],
  'a password of letters only in a setting': ['Pwd=', 'correcthorse', ''],
  'a key in the parameters of an address': ['https://h/p?key=', base62, '&b=2'],
  'a signature in the parameters of an address': ['https://h/p?a=1&X-Amz-Signature=', base62, '&b=2'],
  'a cookie': ['cookie: ', 'sid=s3cret; other=abc', '\n'],
  'a cookie that is set': ['{"set-cookie":"', 'sid=s3cret; HttpOnly', '"}'],
  'another scheme of credentials': ['Authorization: Digest ', 'username="u", response="0123456789abcdef"', '\n'],
  'another scheme in JSON': ['{"authorization":"Token ', base62, '"}'],
  'a header as a list writes it': ['["x-api-key","', '0123456789abcdef0123456789abcdef', '"]'],
  'a password in an address': ['postgres://user:', 'hunter2', '@host:5432/db'],
  'a password with signs in an address': ['redis://:', 'p@ss:w?rd#', '@host/0'],
  'a password in an address in JSON': ['https:\\/\\/user:', 'hunter2', '@host'],
};

const words = fc.array(
  fc.constantFrom(
    'run',
    'the',
    'risk-assessment',
    'task-management-system',

    'token',
    'tokens',
    'secret',
    'nx_',
    'sk-',
    '12',
    'éü',
    '🙂',
    'a.b',
    'key=value',
  ),
  { maxLength: 6 },
);
const before = fc.constantFrom(' ', '"', "'", '(', ',', ';', '=', '\n', '<', '>', '[', '_', '-', '.', '/', '\\n', '%3D', 'é', '\\u0022');
const after = fc.constantFrom(' ', '"', "'", ')', ',', ';', '\n', '<', '>', ']', '&', '…');

describe.each(Object.entries(secrets))('%s', (_, secret) => {
  it('is replaced wherever it stands, and the rest of the text stays', () => {
    fc.assert(
      fc.property(words, before, after, words, (head, left, right, tail) => {
        const [start, end] = [`${head.join(' ')} x${left}`, `${right}${tail.join(' ')}`];
        expect(redactText(start + secret + end)).toBe(start + removed + end);
      }),
    );
  });

  it('survives no text around it', () => {
    const core = secret.replace(/-----[^-]*-----/g, '').slice(8, 20);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (head, tail) => {
        expect(redactText(`${head} ${secret} ${tail}`)).not.toContain(core);
      }),
    );
    expect(redactText(secret)).toBe(removed);
    expect(redactForeignText(`it was ${secret}.`)).not.toContain(core);
  });
});

it.each(Object.entries(named))('replaces %s and keeps its name', (_, [head, secret, tail]) => {
  fc.assert(
    fc.property(words, words, (first, last) => {
      const [start, end] = [`${first.join(' ')} ${head}`, `${tail} ${last.join(' ')}`];
      expect(redactText(start + secret + end)).toBe(start + removed + end);
    }),
  );
});

it('keeps a text that holds no credential as it is', () => {
  for (const text of [
    'password: expected a text, but it is missing',
    'token: unexpected end of input',
    'https://example.com:8080/a@b',
    'authorization: expected a text of 5 characters, got 12',
    'cookie: expected name=value',
    'https://example.com/p?key=short&code=1',
    'see https://example.com:8080/ and write to a@example.com',
    'the Authorization header must be: Bearer nx_<id>_<secret>',
    'run_01jd8z6q4ne7r9k2m5v8w0x3y6 key_01jd8z6q4ne7r9k2m5v8w0x3y6 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'at createLogger (file:///srv/app/dist/telemetry/a-rather-long-file-name-for-a-logger.js:12:34)',
    '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----',
  ])
    expect(redactText(text)).toBe(text);
});

it('blanks in a foreign text also what merely looks like a credential', () => {
  expect(redactForeignText('wrong token "abcdef" for pk_abcdef1 and 0123456789012345678901234567890123456789')).toBe(
    `wrong token "${removed}" for ${removed} and ${removed}`,
  );
});

it('masks passwords in addresses, and nothing else of them', () => {
  expect(redactText('postgres://u:p@h/d')).toBe(`postgres://u:${removed}@h/d`);
  expect(redactText('postgres://u:p@a@h/d')).toBe(`postgres://u:${removed}@h/d`);
  for (const wrong of ['p/w', '/p', 'x12/34', 'p?w/#'])
    expect(redactText(`got "postgres://u:${wrong}@h/d"`)).toBe(`got "postgres://u:${removed}@h/d"`);
  for (const plain of ['http://h:8080/@scope/x', 'http://h/a:b@c', '{"url":"http://h:80/", "mail":"a@b"}'])
    expect(redactText(plain)).toBe(plain);
});

it('takes time proportional to the length of a text, whatever the text', () => {
  const parts = [
    ...Object.values(secrets).flatMap((secret) => [secret, secret.slice(0, 5), secret.slice(0, -1), `${secret.slice(0, 12)}-`]),
    ...Object.values(named).flatMap(([head, secret]) => [head, head + secret]),
    '-----BEGIN PRIVATE KEY-----',
    '-----BEGIN ',
    '-----END',
    '://a:',
    '://',
    ':a',
    'eyJ-',
    'eyJ',
    'sk-.',
    '.',
    ' ',
    '=',
    'token=',
    'token ',
    'bearer:',
    '%20',
    'A',
    '_',
  ];
  const timed = (part: string, length: number) => {
    const text = part.repeat(Math.ceil(length / part.length));
    const startedAt = performance.now();
    redactText(text);
    redactForeignText(text);
    return performance.now() - startedAt;
  };
  // About 20 ms for each million of characters; what is quadratic takes a second for 100 000, and minutes for a million.
  for (const part of [...parts, ...parts.map((one) => `Bearer ${one}`), ...parts.map((one) => `://u:${one}`)])
    expect(timed(part, 50_000), part).toBeLessThan(250);
  // Where there is no @, no address is looked for.
  for (const part of ['://a:', '://a:/', '://a:bcdefgh/'])
    expect(timed(`@ ${part.repeat(100_000 / part.length)}`, 100_000), part).toBeLessThan(250);
  for (const part of parts.slice(-18)) expect(timed(part, 1_000_000), part).toBeLessThan(1500);
});

it('takes a text of any length', () => {
  for (const [head, ...more] of [
    ['Bearer ', 'a'],
    ['sk-', 'a'],
    ['xoxb-', 'a'],
    ['token=1', 'a'],
    ['://user:', 'a'],
    ['token', ' '],
    ['', 'A'],
  ] as const) {
    const text = `${head}${more.join('').repeat(10_000_000)}`;
    expect(redactForeignText(text).length).toBeLessThanOrEqual(text.length);
  }
});

describe('fields', () => {
  it('are replaced by their name, at any depth', () => {
    const names = [
      'apiKey',
      'openai_api_key',
      'Authorization',
      'password',
      'clientSecret',
      'sessionToken',
      'Set-Cookie',
      'cookies',
      'headers',
      'requestHeaders',
      'privateKey',
      'secretAccessKey',
      'credentials',
      'passphrase',
    ];
    for (const name of names) {
      expect(redactFields({ [name]: 'abc' })).toEqual({ [name]: removed });
      expect(redactFields({ a: [{ b: { [name]: { c: 'abc' } } }] })).toEqual({ a: [{ b: { [name]: removed } }] });
    }
  });

  it('stay when they merely sound alike', () => {
    const fields = { inputTokens: 3, tokens: 4, keyId: 'k', secretName: 's', outputPath: '/a', key: 'k', headerCount: 1 };
    expect(redactFields(fields)).toEqual(fields);
  });

  it('hold no credential in any text, address or error', () => {
    for (const secret of Object.values(secrets)) {
      const cause = new NexusError('internal', `no ${secret}`, { details: { secret } });
      const shown = JSON.stringify(redactFields({ a: `x ${secret}`, b: [secret], err: new Error(secret, { cause }) }));
      expect(shown).not.toContain(secret.slice(-12));
    }
    expect(redactFields({ url: new URL('https://u:hunter2@h/') })).toEqual({ url: `https://u:${removed}@h/` });
    expect(redactFields({ bytes: Buffer.from('hunter2') })).toEqual({ bytes: '[7 bytes]' });
  });

  it('show no piece of a credential that lies across the end of what is written', () => {
    for (const secret of [...Object.values(secrets), ...Object.values(named).map((parts) => parts.join(''))]) {
      for (const head of ['word '.repeat(380), `${'sk-abcdefgh '.repeat(150)}${'word '.repeat(40)}`, 'sk-abcdefgh '.repeat(300)]) {
        for (let at = 0; at < secret.length + 30; at += 3) {
          const text = `${head}${'.'.repeat(secret.length + 30 - at)} ${secret} ${'word '.repeat(400)}`;
          const shown = String(redactFields({ text }).text);
          expect(shown.replace(/… \(\d+ characters\)$/, '').replace(/(word|sk-|[.\s…])+$/, '')).not.toMatch(/hunter|abcdef|Ab9Cd8Ef|IOSFO/);
        }
      }
    }
  });

  it('are bounded in depth, lists, texts and as a whole', () => {
    const nest = (depth: number): unknown => (depth === 0 ? 1 : Array.from({ length: 60 }, () => nest(depth - 1)));
    const circular: Record<string, unknown> = { long: 'x'.repeat(5_000_000), nested: nest(3) };
    circular.self = circular;
    expect(redactFields({ long: 'x'.repeat(3000) }).long).toBe(`${'x'.repeat(2000)}… (3000 characters)`);
    expect(redactFields({ list: Array.from({ length: 60 }, (_, index) => index) }).list).toHaveLength(50);
    expect(JSON.stringify(redactFields({ a: { a: { a: { a: { a: { a: { a: { a: 1 } } } } } } } }))).toContain('[deeper]');
    expect(JSON.stringify(redactFields(circular)).length).toBeLessThan(200_000);
    expect(
      JSON.stringify(redactFields(Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`name${index}`, index])))).length,
    ).toBeLessThan(200_000);
  });
});
