import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkPackage,
  createSigningKey,
  fromInstalled,
  openPackage,
  packTarball,
  parseManifest,
  sha256OfBytes,
  signManifest,
  toInstalled,
} from './index.ts';
import { unpackTarball } from './tarball.ts';

const bytes = (text: string) => Uint8Array.from(Buffer.from(text));
const wasm = bytes('\0asm and more');
const manifestOf = (changes = '', hash = sha256OfBytes(wasm)) => `name: probe
version: 1.0.0
tier: T1
tools:
  - name: probe
    description: for tests
    module: probe.wasm
    effects: none
    inputSchema: { type: object }
${changes}
files: { probe.wasm: ${hash} }
`;
const filesOf = (manifest: string, more: Record<string, Uint8Array> = {}) =>
  new Map<string, Uint8Array>(Object.entries({ 'plugin.yaml': bytes(manifest), 'probe.wasm': wasm, ...more }));
const wrong = (files: ReadonlyMap<string, Uint8Array>) =>
  checkPackage(files).then(
    () => 'nothing',
    (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
  );
const max = { maxBytes: 100_000 };
const why = (action: () => unknown) => {
  try {
    action();
    return 'nothing';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

/** A tar of one entry whose header says what is given. */
function tar(name: string, type: string, content = '', size = content.length): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\0', 257);
  header.write(
    `${header
      .reduce((total, byte) => total + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return gzipSync(Buffer.concat([header, Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0')), Buffer.alloc(1024)]));
}

describe('a package', () => {
  it('is unpacked as it was packed', () => {
    const name = fc.stringMatching(/^[a-z]{1,20}(\/[a-z]{1,20})?$/);
    fc.assert(
      fc.property(fc.dictionary(name, fc.uint8Array({ maxLength: 2_000 }), { maxKeys: 8, noNullPrototype: true }), (files) => {
        const unpacked = unpackTarball(packTarball(new Map(Object.entries(files))), max);
        expect(Object.fromEntries([...unpacked].map(([file, content]) => [file, Buffer.from(content)]))).toEqual(
          Object.fromEntries(Object.entries(files).map(([file, content]) => [file, Buffer.from(content)])),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('holds plain files inside it and nothing else [verifies plugins.package]', () => {
    for (const name of ['../x', 'package/../../x', '/etc/passwd', 'a//b', 'a\\b', '..'])
      expect(why(() => unpackTarball(tar(name, '0', 'x'), max))).toMatch(/is no path inside it/);
    for (const type of ['1', '2', '3', '4', '6', 'L'])
      expect(why(() => unpackTarball(tar('x', type, 'x'), max))).toMatch(/is no plain file/);
    expect(why(() => unpackTarball(tar('x', '0', 'x', 5_000), max))).toMatch(/ends within a file/);
    expect(why(() => unpackTarball(bytes('no gzip'), max))).toMatch(/no gzip file/);
    expect(why(() => unpackTarball(gzipSync(bytes('x'.repeat(600))), max))).toMatch(/cannot be read/);
    expect(why(() => unpackTarball(packTarball(new Map([...Array(300).keys()].map((n) => [`f${n}`, wasm]))), max))).toMatch(
      /more than 200/,
    );
  });

  it('is no bomb', () => {
    const bomb = packTarball(new Map([['zeros', new Uint8Array(50_000_000)]]));
    expect(bomb.length).toBeLessThan(100_000);
    expect(why(() => unpackTarball(bomb, max))).toMatch(/unpacks to more than 100000 bytes/);
  });

  it('survives any damage: it is refused or it is the same', async () => {
    const packed = packTarball(filesOf(manifestOf()));
    const { digest } = await openPackage(packed);
    await fc.assert(
      fc.asyncProperty(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const damaged = Uint8Array.from(packed);
        damaged[at] = (damaged[at] ?? 0) ^ change;
        const found = await openPackage(damaged).catch((error: { code?: string }) => error.code);
        if (typeof found === 'object') expect(found.digest).toBe(digest);
        else expect(['invalid_request', 'config_invalid', 'payload_too_large']).toContain(found);
      }),
      { numRuns: 100 },
    );
  });
});

describe('a manifest', () => {
  it('is what the files are, or the plugin is refused', async () => {
    expect(await wrong(filesOf(manifestOf()))).toBe('nothing');
    expect(await wrong(filesOf(manifestOf('', 'a'.repeat(64))))).toMatch(/^invalid_request: probe.wasm has the SHA-256/);
    expect(
      await wrong(filesOf(manifestOf('  - { name: b, description: b, module: other.wasm, effects: none, inputSchema: { type: object } }'))),
    ).toMatch(/^invalid_request: the module other.wasm of b is not among the files/);
    const lacking = new Map([...filesOf(manifestOf())].filter(([name]) => name !== 'probe.wasm'));
    expect(await wrong(lacking)).toMatch(/^invalid_request: the package lacks probe.wasm/);
    expect(await wrong(new Map())).toMatch(/^invalid_request: there is no plugin.yaml/);
  });

  it.each([
    ['name: Probe', /name: .*small letters/],
    ['tier: T3', /tier: expected/],
    ['extra: 1', /extra/],
    ['files: { ../probe.wasm: x }', /files/],
    ['tools: []', /tools/],
    ['tools: [{ name: "a b" }]', /tools/],
    ['[1, 2]', /must hold a mapping/],
  ])('says what is wrong with it: %s', async (line, message) => {
    const base = line.startsWith('[')
      ? ''
      : 'name: probe\nversion: 1.0.0\ntier: T1\ntools:\n  - { name: p, description: p, module: p.wasm, effects: none, inputSchema: {} }\n';
    const key = line.split(':')[0] ?? '';
    const text = `${base
      .split('\n')
      .filter((other) => !other.startsWith(`${key}:`))
      .filter((other) => key !== 'tools' || !other.startsWith(' '))
      .join('\n')}\n${line}\n`;
    await expect(parseManifest(text)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringMatching(message) });
  });
});

describe('a manifest of tier T2', () => {
  const program = bytes('a program');
  const base = `name: probe
version: 1.0.0
tier: T2
server: { command: node, args: [server.js] }
tools:
  - { name: p, description: p, effects: none, permissions: [process.run], inputSchema: { type: object } }
files: { server.js: ${sha256OfBytes(program)} }
`;
  const wrongWith = (from: string, to: string) =>
    wrong(
      new Map([
        ['plugin.yaml', bytes(base.replace(from, to))],
        ['server.js', program],
      ]),
    );

  it('names its program and asks for nothing else', async () => {
    expect(await wrongWith('', '')).toBe('nothing');
    expect(await wrongWith('server: { command: node, args: [server.js] }\n', '')).toMatch(/server: expected the program/);
    expect(await wrongWith('tier: T2', 'tier: T1')).toMatch(
      /server: belongs to tier T2.*module: expected.*permissions: process\.run is for programs/,
    );
    for (const permissions of ['[]', '[process.run, net.egress]', '[clock]'])
      expect(await wrongWith('[process.run]', permissions)).toMatch(/permissions: expected \[process\.run\]/);
    expect(await wrongWith('inputSchema', 'module: server.js, inputSchema')).toMatch(/module: belongs to tier T1/);
    expect(await wrongWith('inputSchema', 'entry: x, inputSchema')).toMatch(/entry: belongs to tier T1/);
    expect(await wrongWith('inputSchema', 'limits: { fuel: 1 }, inputSchema')).toMatch(/limits: belong to tier T1/);
  });

  it.each(['/usr/bin/env', '../node', './../node', 'a b', './.hidden', '', 'node\u0000', '-c'].map((command) => [JSON.stringify(command)]))(
    'starts no %s',
    async (command) => {
      expect(await wrongWith('command: node', `command: ${command}`)).not.toBe('nothing');
    },
  );

  it('has the program that it starts', async () => {
    expect(await wrongWith('command: node', 'command: ./bin/probe')).toMatch(
      /^invalid_request: the program \.\/bin\/probe is not among the files/,
    );
    expect(await wrongWith('command: node', 'command: ./server.js')).toBe('nothing');
  });
});

describe('files of a package', () => {
  const withFiles = async (...names: string[]) => {
    const listed = names.map((name) => `${JSON.stringify(name)}: ${sha256OfBytes(wasm)}`).join(', ');
    const manifest = manifestOf().replace(/files: .*/, `files: { probe.wasm: ${sha256OfBytes(wasm)}, ${listed} }`);
    return wrong(filesOf(manifest, Object.fromEntries(names.map((name) => [name, wasm]))));
  };

  it('are apart on every machine [verifies plugins.package]', async () => {
    expect(await withFiles('Probe.wasm')).toMatch(/file probe\.wasm and file Probe\.wasm, which are one on some machines/);
    expect(await withFiles('a/b', 'A/c')).toMatch(/folder a and folder A/);
    expect(await withFiles('a', 'a/b')).toMatch(/file a and folder a/);
    expect(await withFiles('a/b', 'a')).toMatch(/folder a and file a/);
    expect(await withFiles('a/b', 'a/c', 'b')).toBe('nothing');
  });
});

describe('what went wrong elsewhere', () => {
  // Packages that others unpacked to where they should not have, or read otherwise than whoever checked them.
  it('a later entry, a note or a size that lies changes nothing of what was checked [verifies plugins.package]', () => {
    const twice = gzipSync(Buffer.concat([gunzipSync(tar('x', '0', 'one')).subarray(0, 1024), gunzipSync(tar('x', '0', 'two'))]));
    expect(why(() => unpackTarball(twice, max))).toMatch(/has "x" twice/);
    const same = gzipSync(Buffer.concat([gunzipSync(tar('package/x', '0', 'one')).subarray(0, 1024), gunzipSync(tar('x', '0', 'two'))]));
    expect(why(() => unpackTarball(same, max))).toMatch(/has "x" twice/);
    // A note that names another path for what follows is not obeyed: the file is what its own header says.
    const noted = gzipSync(
      Buffer.concat([gunzipSync(tar('note', 'x', '19 path=../evil.js\n')).subarray(0, 1024), gunzipSync(tar('x', '0', 'one'))]),
    );
    expect([...unpackTarball(noted, max).keys()]).toEqual(['x']);
    for (const size of ['77777777777', '-0000000001', '\u0080\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000'])
      expect(why(() => unpackTarball(withSize(tar('x', '0', 'one'), size), max))).toMatch(/ends within a file|is none/);
  });

  it('a sparse file, a device or a link by any name is no file [verifies plugins.package]', () => {
    for (const type of ['S', 'V', 'M', 'D', 'K', '7', 'Z'])
      expect(why(() => unpackTarball(tar('x', type, 'x'), max))).toMatch(/is no plain file/);
  });

  it('a package of nothing but folders and notes is not read to its end [verifies plugins.package]', () => {
    const one = gunzipSync(tar('d/', '5')).subarray(0, 512);
    const many = gzipSync(Buffer.concat(Array.from({ length: 3_000 }, () => one)));
    expect(why(() => unpackTarball(many, { maxBytes: 16_000_000 }))).toMatch(/more than 2000 entries/);
  });

  // One of 30 KB, packed, took the process all of its memory.
  it.each([
    ['numbers', 'a: ['.concat('1,'.repeat(200_000), ']')],
    ['brackets', 'a: '.concat('['.repeat(100_000))],
    ['keys', Array.from({ length: 40_000 }, (_, index) => `k${index}: 1`).join('\n')],
    ['notes', '#\n'.repeat(100_000)],
    ['text', 'description: '.concat('x'.repeat(1_000_000))],
  ])('a manifest of nothing but %s is given up before it is read [verifies plugins.package]', async (_what, text) => {
    const started = process.threadCpuUsage();
    expect(await wrong(filesOf(text))).toMatch(/^config_invalid: plugin\.yaml has more than/);
    expect(process.threadCpuUsage(started).user / 1_000).toBeLessThan(500);
  });

  it.each([
    ['brackets that are open', `a: ${'['.repeat(30_000)}`],
    ['a schema within schemas', manifestOf().replace('{ type: object }', `${'{ a: '.repeat(300)}1${' }'.repeat(300)}`)],
    ['a list of itself', 'a: &a [*a]\n'],
    ['lists of lists', 'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n'],
  ])('a manifest of %s is refused with the reason [verifies plugins.package]', async (_what, text) => {
    expect(await wrong(filesOf(text))).toMatch(/^config_invalid: plugin\.yaml (is not valid YAML|is nested too deeply)/);
  });

  it('a hundred thousand files are not looked at [verifies plugins.package]', () => {
    const one = gunzipSync(tar('f', '0', '')).subarray(0, 512);
    const many = gzipSync(Buffer.concat(Array.from({ length: 100_000 }, () => one)));
    expect(why(() => unpackTarball(many, max))).toMatch(/unpacks to more than|twice|more than 200/);
  });
});

/** The same header with another size, and the sum that fits it. */
function withSize(packed: Uint8Array, size: string): Uint8Array {
  const blocks = gunzipSync(packed);
  blocks.write(`${size}\0`, 124, 'latin1');
  blocks.write('        ', 148);
  const sum = blocks.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  blocks.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return gzipSync(blocks);
}

describe('a signature', () => {
  it('holds for what was signed and for nothing else [verifies plugins.signed]', async () => {
    const { privateKey, publicKey } = createSigningKey();
    const plain = await checkPackage(filesOf(manifestOf()));
    expect(plain.signedBy).toBeNull();
    const { text } = signManifest(plain.manifest, privateKey);
    const signed = (manifest: string, signature = text) => filesOf(manifest, { 'plugin.sig': bytes(signature) });
    expect(await checkPackage(signed(manifestOf()))).toMatchObject({ signedBy: publicKey, digest: plain.digest });
    // What means the same is the same.
    expect(await checkPackage(signed(`# a comment\n${manifestOf()}`))).toMatchObject({ signedBy: publicKey });
    const other = signManifest(plain.manifest, createSigningKey().privateKey).text;
    expect(await checkPackage(signed(manifestOf(), other))).not.toMatchObject({ signedBy: publicKey });
    for (const changed of [
      signed(manifestOf('    permissions: [net.egress]')),
      signed(manifestOf().replace('1.0.0', '1.0.1')),
      signed(manifestOf(), text.replace(publicKey, createSigningKey().publicKey)),
      signed(manifestOf(), '{}'),
      signed(manifestOf(), `${text}${' '.repeat(10_000)}`),
      signed(manifestOf(), 'no JSON'),
      signed(manifestOf(), JSON.stringify({ publicKey: '', signature: '' })),
    ])
      expect(await wrong(changed)).toMatch(/^invalid_request: the signature of the plugin does not hold/);
  });

  // That of the neutral point would hold for everything, where a library takes it for a key.
  it('is of nobody, where anybody could make it [verifies plugins.signed]', async () => {
    const neutral = Buffer.alloc(32);
    neutral[0] = 1;
    const signature = JSON.stringify({
      publicKey: neutral.toString('base64'),
      signature: Buffer.concat([neutral, Buffer.alloc(32)]).toString('base64'),
    });
    expect(await wrong(filesOf(manifestOf(), { 'plugin.sig': bytes(signature) }))).toMatch(
      /^invalid_request: the signature .* does not hold/,
    );
  });

  it('takes Ed25519 keys only', async () => {
    const { manifest } = await checkPackage(filesOf(manifestOf()));
    expect(() => signManifest(manifest, 'no key')).toThrow(/cannot be read/);
  });
});

describe('what is kept of a plugin', () => {
  it('gives it back, or nothing when it was changed', async () => {
    const kept = toInstalled(await checkPackage(filesOf(manifestOf())), true);
    const read: unknown = JSON.parse(JSON.stringify(kept));
    expect(fromInstalled(read)).toMatchObject({ isTrusted: true, signedBy: null, bytes: wasm.length, manifest: kept.manifest });
    expect(fromInstalled({ ...kept, files: { 'probe.wasm': Buffer.from('other').toString('base64') } })).toBeNull();
    for (const content of [null, {}, 'text', { ...kept, manifest: {} }, { ...kept, files: { ...kept.files, constructor: '' } }])
      expect(fromInstalled(content)).toBeNull();
  });
});
