import { LRUCache } from 'lru-cache';
import type { FormPolicy } from '#policy/forms';
import type { Slice } from './slice.ts';
import type { Decision } from './types.ts';

/*
 * Both bounds, of number and of size, are kept by the size alone: an entry weighs at least its share of the whole. A cache
 * that is told a number sets its whole room aside at once.
 */

/** Questions longer than this (large arguments that a policy reads as a whole) are evaluated each time. */
export const maxMemoKeyChars = 8192;
/** Characters of all remembered questions and answers together, rounded up to a whole number for each. */
const maxMemoChars = 16_000_000;
/** What an answer adds to its question, about. */
const answerChars = 500;

/** Answers by everything that the policies read of the question. */
export function createMemo(maxEntries: number): LRUCache<string, Decision> {
  const least = Math.ceil(maxMemoChars / maxEntries);
  return new LRUCache({ maxSize: least * maxEntries, sizeCalculation: (_, key) => Math.max(least, key.length + answerChars) });
}

const maxSlices = 8192;
/** Policies of all slices together; the policies themselves are shared, a slice only names them. */
const maxSlicedPolicies = maxSlices * 61;

/** Slices by principal, action, resource and short forms. A slice of more policies than fit is made anew each time. */
export function createSliceCache(): LRUCache<string, Slice> {
  const least = maxSlicedPolicies / maxSlices;
  return new LRUCache({ maxSize: maxSlicedPolicies, sizeCalculation: ({ policies }) => Math.max(least, policies.size + 1) });
}

const maxForms = 1024;
/** Policies of all compiled short forms together. */
const maxFormPolicies = maxForms * 49;

/** What short forms were compiled to, by their text. */
export function createFormCache(): LRUCache<string, readonly FormPolicy[]> {
  const least = maxFormPolicies / maxForms;
  return new LRUCache({ maxSize: maxFormPolicies, sizeCalculation: (policies) => Math.max(least, policies.length + 1) });
}
