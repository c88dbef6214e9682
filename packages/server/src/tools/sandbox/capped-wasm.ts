const memorySection = 5;
const globalSection = 6;
const headerBytes = 8;
const constantEnd = 0x0b;

interface Section {
  readonly id: number;
  /** Where its header begins, and what it holds. */
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

/** A number of the format (LEB128), and where it ends. */
function readNumber(binary: Uint8Array, at: number): readonly [value: number, next: number] {
  let value = 0;
  for (let shift = 0, next = at; ; shift += 7) {
    const byte = binary[next++];
    if (byte === undefined) throw new RangeError('the WebAssembly binary ends too early');
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value >>> 0, next];
  }
}

function findSection(binary: Uint8Array, id: number): Section | null {
  for (let start = headerBytes; start < binary.length; ) {
    const [size, body] = readNumber(binary, start + 1);
    if (binary[start] === id) return { id, start, body, end: body + size };
    start = body + size;
  }
  return null;
}

/**
 * A WebAssembly binary whose own memory cannot grow beyond `maxPages` of 64 KiB. The engine's binary declares no
 * maximum, and its malloc limit is its own bookkeeping; this limit is kept by the host.
 */
export function capWasmMemory(binary: Uint8Array, maxPages: number): Uint8Array<ArrayBuffer> {
  const found = findSection(binary, memorySection);
  if (found === null) throw new RangeError('the WebAssembly binary declares no memory of its own');
  const [count, flags] = readNumber(binary, found.body);
  if (count !== 1) throw new RangeError('the WebAssembly binary must have exactly one memory');
  const [, minimum] = readNumber(binary, flags); // a maximum that is there already is replaced
  const [minPages] = readNumber(binary, minimum);
  const body = [1, 1, ...encodeNumber(minPages), ...encodeNumber(Math.max(minPages, maxPages))];
  const section = [memorySection, ...encodeNumber(body.length), ...body];
  return concat([binary.subarray(0, found.start), Uint8Array.from(section), binary.subarray(found.end)]);
}

/** How many globals of its own the binary can change: state that lies outside its memory. Their first values must be plain numbers. */
export function mutableGlobals(binary: Uint8Array): number {
  const found = findSection(binary, globalSection);
  if (found === null) return 0;
  let [count, at] = readNumber(binary, found.body);
  let mutable = 0;
  for (; count > 0; count--) {
    if (binary[at + 1] === 1) mutable += 1;
    // The type, whether it changes, and an instruction with its number.
    [, at] = readNumber(binary, at + 3);
    if (binary[at] !== constantEnd) throw new RangeError('the WebAssembly binary has a global that is more than a number');
    at += 1;
  }
  if (at !== found.end) throw new RangeError('the globals of the WebAssembly binary cannot be read');
  return mutable;
}

function encodeNumber(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const more = rest > 0x7f;
    bytes.push((rest & 0x7f) | (more ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
