const memorySection = 5;
const headerBytes = 8;

/**
 * A WebAssembly binary whose own memory cannot grow beyond `maxPages` of 64 KiB. The engine's binary declares no
 * maximum, and its malloc limit is its own bookkeeping; this limit is kept by the host.
 */
export function capWasmMemory(binary: Uint8Array, maxPages: number): Uint8Array<ArrayBuffer> {
  let offset = headerBytes;
  const readNumber = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[offset++];
      if (byte === undefined) throw new RangeError('the WebAssembly binary ends too early');
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  while (offset < binary.length) {
    const sectionStart = offset;
    const id = binary[offset++];
    const size = readNumber();
    const bodyStart = offset;
    if (id !== memorySection) {
      offset = bodyStart + size;
      continue;
    }
    if (readNumber() !== 1) throw new RangeError('the WebAssembly binary must have exactly one memory');
    readNumber(); // flags: a maximum that is there already is replaced
    const minPages = readNumber();
    const body = [1, 1, ...encodeNumber(minPages), ...encodeNumber(Math.max(minPages, maxPages))];
    const section = [memorySection, ...encodeNumber(body.length), ...body];
    return concat([binary.subarray(0, sectionStart), Uint8Array.from(section), binary.subarray(bodyStart + size)]);
  }
  throw new RangeError('the WebAssembly binary declares no memory of its own');
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
