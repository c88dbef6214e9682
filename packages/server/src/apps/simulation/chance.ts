import { createHash } from 'node:crypto';

/** Draws that depend on a seed and nothing else. */
export interface Chance {
  /** At least 0, less than 1. */
  next(): number;
  /** A whole number, both ends included. */
  int(from: number, to: number): number;
  /** True with this probability. */
  hits(probability: number): boolean;
  /** Of a list that is not empty. */
  pick<T>(items: readonly T[]): T;
  /** `weights` by name: one of the names. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K;
  bytes(size: number): Uint8Array;
  /** Draws of their own: taking more of them, or fewer, changes no others. */
  fork(name: string): Chance;
}

/** By sfc32 (Chris Doty-Humphrey, PractRand), seeded by a hash, so that seeds that are near one another have nothing in common. */
export function createChance(seed: string): Chance {
  const hash = createHash('sha256').update(seed).digest();
  let a = hash.readInt32LE(0);
  let b = hash.readInt32LE(4);
  let c = hash.readInt32LE(8);
  let counter = 1;
  const word = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return sum >>> 0;
  };
  for (let warm = 0; warm < 12; warm++) word();
  const next = () => word() / 2 ** 32;
  const int = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  return {
    next,
    int,
    hits: (probability) => next() < probability,
    pick: <T>(items: readonly T[]) => items[int(0, items.length - 1)] as T, // of a list that is not empty
    weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
      const entries = Object.entries<number>(weights);
      let left = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        left -= weight;
        if (left < 0) return name as K; // a key of the record that was given
      }
      return entries.at(-1)?.[0] as K; // rounding: the last one
    },
    bytes: (size) => Uint8Array.from({ length: size }, () => word() & 0xff),
    fork: (name) => createChance(`${seed}/${name}`),
  };
}
