/** Numbers of WASI for what went wrong. */
export const errno = {
  ok: 0,
  acces: 2,
  badf: 8,
  exist: 20,
  fault: 21,
  fbig: 22,
  inval: 28,
  io: 29,
  isdir: 31,
  nametoolong: 37,
  noent: 44,
  nosys: 52,
  notdir: 54,
  perm: 63,
  rofs: 69,
  spipe: 70,
  notcapable: 76,
} as const;

/** Ends the module from inside a host function: a limit, or its own will. No code of the module can catch it. */
export class GuestExit extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** What the engine throws where there is no stack for one more call. */
export function isStackSpent(error: unknown): boolean {
  return error instanceof RangeError && error.message.includes('call stack');
}

/** Numbers of a module come signed. */
export const unsigned = (value: number) => value >>> 0;

/** The memory of a module, looked up anew each time as it may have grown. Whatever lies outside throws `RangeError`. */
export class GuestMemory {
  #memory: WebAssembly.Memory | null = null;

  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  get size(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  get view(): DataView {
    if (this.#memory === null) throw new RangeError('there is no memory');
    return new DataView(this.#memory.buffer);
  }

  /** The bytes themselves, not a copy: gone once the module goes on. */
  bytes(pointer: number, length: number): Uint8Array<ArrayBuffer> {
    if (this.#memory === null) throw new RangeError('there is no memory');
    return new Uint8Array(this.#memory.buffer, unsigned(pointer), unsigned(length));
  }

  text(pointer: number, length: number): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes(pointer, length));
  }

  setNumber(pointer: number, value: number): void {
    this.view.setUint32(unsigned(pointer), value, true);
  }

  setLong(pointer: number, value: bigint): void {
    this.view.setBigUint64(unsigned(pointer), value, true);
  }
}

/** Bytes that are collected, in one piece that grows. */
export class ByteSink {
  #bytes = new Uint8Array(256);
  length = 0;

  write(at: number, bytes: Uint8Array): void {
    const end = at + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, end));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, at);
    this.length = Math.max(this.length, end);
  }

  /** Shorter it loses its end, and the room that this took; longer it gets zeros. */
  resize(length: number): void {
    if (length > this.#bytes.length) this.write(length, new Uint8Array());
    if (length < this.#bytes.length / 4) this.#bytes = this.#bytes.slice(0, Math.max(length, 256));
    if (length < this.length) this.#bytes.fill(0, length, this.length);
    this.length = length;
  }

  view(from = 0, to = this.length): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(Math.min(from, this.length), Math.min(to, this.length));
  }
}
