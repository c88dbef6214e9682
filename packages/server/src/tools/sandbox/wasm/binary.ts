/** A part of a module: its number in the format, and what it holds. */
export interface Section {
  readonly id: number;
  readonly body: Uint8Array;
}

/** A binary that is no WebAssembly module, or has something in it that is not taken. The message says what. */
export class ModuleRefused extends Error {}

const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** Reads the binary format from start to end. Whatever ends too early is refused. */
export class BinaryReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new ModuleRefused('it ends too early');
    return byte;
  }

  /** A number of at most 32 bits (LEB128). */
  number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new ModuleRefused('a number in it has no end');
  }

  /** Past a number of any width, whether signed or not. */
  skipNumber(): void {
    for (let length = 0; length < 10; length++) if (this.byte() < 0x80) return;
    throw new ModuleRefused('a number in it has no end');
  }

  skip(length: number): void {
    this.at += length;
    if (this.at > this.bytes.length) throw new ModuleRefused('it ends too early');
  }

  take(length: number): Uint8Array {
    const start = this.at;
    this.skip(length);
    return this.bytes.subarray(start, this.at);
  }

  name(): string {
    return new TextDecoder().decode(this.take(this.number()));
  }
}

/** Bytes that grow. */
export class BinaryWriter {
  #bytes = new Uint8Array(64);
  length = 0;

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.length++] = value;
    return this;
  }

  number(value: number): this {
    let rest = value;
    do {
      const more = rest > 0x7f;
      this.byte((rest & 0x7f) | (more ? 0x80 : 0));
      rest >>>= 7;
    } while (rest > 0);
    return this;
  }

  /** A signed number of up to 64 bits. */
  signed(value: bigint): this {
    let rest = value;
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      const done = (rest === 0n && low < 0x40) || (rest === -1n && low >= 0x40);
      this.byte(done ? low : low | 0x80);
      if (done) return this;
    }
  }

  raw(bytes: Uint8Array | readonly number[]): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  name(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.number(bytes.length).raw(bytes);
  }

  /** What was written; valid until more is. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }

  #reserve(more: number): void {
    if (this.length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + more));
    grown.set(this.view());
    this.#bytes = grown;
  }
}

/** The sections of a module but for those that mean nothing to it, such as names and debugging data. */
export function readSections(bytes: Uint8Array): Section[] {
  if (bytes.length < header.length || header.some((byte, index) => bytes[index] !== byte)) {
    throw new ModuleRefused('it is no WebAssembly module of version 1');
  }
  const reader = new BinaryReader(bytes, header.length);
  const sections: Section[] = [];
  while (!reader.done) {
    const id = reader.byte();
    const body = reader.take(reader.number());
    if (id !== 0) sections.push({ id, body });
  }
  return sections;
}

export function writeSections(sections: readonly Section[]): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter().raw(header);
  for (const { id, body } of sections) writer.byte(id).number(body.length).raw(body);
  return writer.view();
}
