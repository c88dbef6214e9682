import { LRUCache } from 'lru-cache';
import type { FormPolicy } from '#policy/forms';
import type { Slice } from './slice.ts';
import type { Decision } from './types.ts';

/** Questions longer than this (large arguments that a policy reads as a whole) are evaluated each time. */
export const maxMemoKeyChars = 8192;
/** Characters of all remembered questions and answers together. */
const maxMemoChars = 16_000_000;
/** What an answer adds to its question, about. */
const answerChars = 500;

/** Answers by everything that the policies read of the question. */
export function createMemo(maxEntries: number): LRUCache<string, Decision> {
  return new LRUCache({ max: maxEntries, maxSize: maxMemoChars, sizeCalculation: (_, key) => key.length + answerChars });
}

const maxSlices = 8192;
/** Policies of all slices together; the policies themselves are shared, a slice only names them. */
const maxSlicedPolicies = 500_000;

/** Slices by principal, action, resource and short forms. A slice of more policies than fit is made anew each time. */
export function createSliceCache(): LRUCache<string, Slice> {
  return new LRUCache({ max: maxSlices, maxSize: maxSlicedPolicies, sizeCalculation: ({ policies }) => policies.size + 1 });
}

const maxForms = 1024;
/** Policies of all compiled short forms together. */
const maxFormPolicies = 50_000;

/** What short forms were compiled to, by their text. */
export function createFormCache(): LRUCache<string, readonly FormPolicy[]> {
  return new LRUCache({ max: maxForms, maxSize: maxFormPolicies, sizeCalculation: (policies) => policies.length + 1 });
}
