import { hash, randomBytes } from 'node:crypto';
import { type IdKind, idPrefixes } from '@nexus-agent/protocol';
import type { Clock } from './clock.ts';

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const digits = Buffer.from(alphabet);
/** The text of the id that is made: in one piece at once, since one that is put together character by character is copied when it is looked up. */
const written = Buffer.alloc(26);

/** 128 bits as 26 characters of Crockford base32, most significant first (TypeID specification 0.3). */
function encodeBase32(bytes: Uint8Array): string {
  let buffer = 0;
  let bits = 2; // 26 x 5 = 130 bits: two leading zero bits
  let at = 0;
  for (let index = 0; index < 16; index++) {
    buffer = (buffer << 8) | (bytes[index] ?? 0);
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      written[at++] = digits[buffer >>> bits] ?? 0;
      buffer &= (1 << bits) - 1;
    }
  }
  return written.toString('latin1');
}

export interface IdSource {
  /** A new TypeID of the kind. The caller names the branded type it stands for: `ids.next<RunId>('run')`. */
  next<Id extends string>(kind: IdKind): Id;
}

/** Ids with the time in front (UUIDv7, RFC 9562 method 3: a counter keeps one process's ids in order within a millisecond). */
export function createIdSource(clock: Clock, random: (size: number) => Uint8Array = randomPool()): IdSource {
  let lastMs = 0;
  let counter = 0;
  return {
    next<Id extends string>(kind: IdKind): Id {
      const nowMs = Math.max(clock.now(), lastMs);
      if (nowMs === lastMs) counter += 1;
      if (nowMs > lastMs || counter > 0xfff) {
        lastMs = counter > 0xfff ? nowMs + 1 : nowMs;
        counter = 0;
      }
      const bytes = new Uint8Array(16);
      let rest = lastMs;
      for (let index = 5; index >= 0; index--) {
        bytes[index] = rest % 256;
        rest = Math.floor(rest / 256);
      }
      bytes[6] = 0x70 | (counter >>> 8);
      bytes[7] = counter & 0xff;
      const tail = random(8);
      bytes.set(tail, 8);
      bytes[8] = 0x80 | ((tail[0] ?? 0) & 0x3f);
      return `${idPrefixes[kind]}_${encodeBase32(bytes)}` as Id; // the caller's brand names this kind
    },
  };
}

/** An id that depends only on `seed`: repeating the work that asked for it gives the same id (UUIDv8, RFC 9562). */
export function derivedId<Id extends string>(kind: IdKind, seed: string): Id {
  const bytes = new Uint8Array(hash('sha256', seed, 'buffer').subarray(0, 16));
  bytes[6] = 0x80 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return `${idPrefixes[kind]}_${encodeBase32(bytes)}` as Id; // the caller's brand names this kind
}

/** Random bytes drawn in blocks: one system call for 512 ids instead of one each. */
function randomPool(): (size: number) => Uint8Array {
  let pool = randomBytes(4096);
  let used = 0;
  return (size) => {
    if (used + size > pool.length) {
      pool = randomBytes(4096);
      used = 0;
    }
    used += size;
    return pool.subarray(used - size, used);
  };
}
