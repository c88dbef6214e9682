import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/**
 * What pdf.js asks of a browser, as far as it needs it to give text: the engine of the sandbox has none of it. Nothing of it reaches
 * anything; what would (workers, requests, modules) is not there. Messages between the two halves of pdf.js are copied, as each half goes on
 * to change what it has sent.
 */
const browser = `
globalThis.self = globalThis;
globalThis.setTimeout = (act) => (Promise.resolve().then(act), 0);
globalThis.clearTimeout = () => {};
globalThis.structuredClone = (value) => {
  const seen = new Map();
  const copy = (from) => {
    if (typeof from === 'function') throw new TypeError('a function cannot be copied');
    if (typeof from !== 'object' || from === null) return from;
    if (seen.has(from)) return seen.get(from);
    if (ArrayBuffer.isView(from)) return from.slice();
    if (from instanceof ArrayBuffer) return from.slice(0);
    if (from instanceof Error) return Object.assign(new Error(from.message), { name: from.name });
    if (from instanceof Map) return new Map([...from].map(([key, item]) => [copy(key), copy(item)]));
    if (from instanceof Set) return new Set([...from].map(copy));
    const to = Array.isArray(from) ? [] : {};
    seen.set(from, to);
    for (const key of Object.keys(from)) to[key] = copy(from[key]);
    return to;
  };
  return copy(value);
};
globalThis.TextDecoder = class {
  #label;
  #isFatal;
  constructor(label = 'utf-8', { fatal = false } = {}) {
    this.#label = String(label).toLowerCase();
    this.#isFatal = fatal;
  }
  decode(given = new Uint8Array(0)) {
    const bytes = ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : new Uint8Array(given);
    let text = '';
    if (this.#label.startsWith('utf-16')) {
      const high = this.#label.endsWith('be') ? 0 : 1;
      for (let at = 0; at + 1 < bytes.length; at += 2) text += String.fromCharCode(bytes[at + high] * 256 + bytes[at + 1 - high]);
      return text;
    }
    for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
    if (!this.#label.startsWith('utf')) return text;
    try {
      return decodeURIComponent(escape(text));
    } catch {
      if (this.#isFatal) throw new TypeError('no UTF-8');
      return text;
    }
  }
};
globalThis.TextEncoder = class {
  encode(text = '') {
    return Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
  }
};
globalThis.ReadableStream = class {
  #chunks = [];
  #reading = [];
  #ended = null;
  #pull;
  constructor(source) {
    const end = (how) => {
      this.#ended ??= how;
      for (const waiting of this.#reading.splice(0)) this.#ended(waiting);
    };
    const controller = {
      desiredSize: 1_000,
      enqueue: (value) => {
        const waiting = this.#reading.shift();
        if (waiting === undefined) this.#chunks.push(value);
        else waiting.resolve({ value, done: false });
      },
      close: () => end(({ resolve }) => resolve({ value: undefined, done: true })),
      error: (reason) => end(({ reject }) => reject(reason)),
    };
    let begun = false;
    let pulling = false;
    // What sends waits once it is so far ahead, until it is told that more is wanted.
    this.#pull = () => {
      if (!begun || pulling || this.#ended !== null || this.#reading.length === 0) return;
      pulling = true;
      Promise.resolve(source.pull?.(controller)).then(() => {
        pulling = false;
        this.#pull();
      }, controller.error);
    };
    Promise.resolve(source.start?.(controller)).then(() => {
      begun = true;
      this.#pull();
    }, controller.error);
  }
  getReader() {
    const read = () =>
      new Promise((resolve, reject) => {
        if (this.#chunks.length > 0) resolve({ value: this.#chunks.shift(), done: false });
        else if (this.#ended !== null) this.#ended({ resolve, reject });
        else this.#reading.push({ resolve, reject });
        this.#pull();
      });
    return { read, cancel: async () => {}, releaseLock() {} };
  }
};
globalThis.AbortSignal = class {
  aborted = false;
  addEventListener() {}
  removeEventListener() {}
  throwIfAborted() {}
  static any() {
    return new AbortSignal();
  }
};
globalThis.AbortController = class {
  signal = new AbortSignal();
  abort() {
    this.signal.aborted = true;
  }
};
globalThis.URL = class {
  constructor(address) {
    this.href = String(address);
  }
  static canParse = () => false;
  static parse = () => null;
};
globalThis.crypto = { getRandomValues: (bytes) => bytes.fill(7), randomUUID: () => 'one' };
globalThis.Response = globalThis.Blob = class {};
`;

const require = createRequire(import.meta.url);
let made: string | undefined;

/**
 * pdf.js as code for the engine, which knows no modules: it finds it as `pdfjs`. The library is pinned exactly, for its last line is written
 * anew here.
 */
export function pdfLibrary(): string {
  made ??= `(() => {${browser}\n${asScript(readFileSync(join(dirname(require.resolve('unpdf')), 'pdfjs.mjs'), 'utf8'))}})();`;
  return made;
}

/** A module without imports as a script: what it exports becomes a global. It is not asked for other modules, nor where it lies. */
function asScript(module: string): string {
  const at = module.lastIndexOf('export{');
  const end = module.indexOf('}', at);
  if (at < 0 || module.slice(end + 1).trim() !== ';') throw new Error('pdf.js does not end with what it exports');
  const names = module
    .slice(at + 'export{'.length, end)
    .split(',')
    .map((each) => each.split(' as ').map((name) => name.trim()))
    .map(([own = '', given = own]) => `${given}:${own}`);
  const body = module.slice(0, at).replaceAll('import.meta.url', '"pdf:"').replaceAll('import(', 'self.noModules(');
  return `${body}globalThis.pdfjs={${names.join()}};`;
}
