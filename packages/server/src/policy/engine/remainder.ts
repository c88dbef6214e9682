import type { AuthorizationAnswer, Policy } from '@cedar-policy/cedar-wasm/nodejs';
import { LRUCache } from 'lru-cache';
import { sha256 } from '#core';
import { type CompiledPolicy, cedarRuntime } from '#policy/compile';
import type { CedarRequest, Projected } from './request.ts';
import type { Slice } from './slice.ts';

/** Cedar's answer, and the policies that it was asked about. */
export interface Answered {
  readonly answer: AuthorizationAnswer;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
}

/** What is left of a slice once some of its conditions are known. */
interface Remainder {
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  /** As Cedar is given them: those whose conditions are met have none. */
  readonly asked: Record<string, Policy>;
  readonly key: string;
  /** Of a remainder without conditions, which all questions of the slice have the same answer to. */
  answer?: AuthorizationAnswer;
}

/** Of more policies than this Cedar is asked as a whole: to tell it of a part takes longer than it takes to answer. */
const mostLeft = 32;
/** Cedar has to be told of each remainder once. A slice whose questions leave ever others is asked as a whole. */
const mostRemainders = 64;
/** A slice of fewer is asked as a whole where some of its conditions are not known. */
const fewPolicies = 16;
const maxRemainderPolicies = 100_000;

export interface Remainders {
  /** Asks Cedar about a slice, leaving out what is known ahead. */
  ask(slice: Slice, projected: Projected): Answered;
}

/**
 * Policies whose conditions are plainly not met by a question say nothing about it and cannot err, and of those whose conditions are met
 * the scope is left: Cedar decides by what remains, which is the same as deciding by all of them.
 */
export function createRemainders(): Remainders {
  const known = new LRUCache<string, Remainder>({
    maxSize: maxRemainderPolicies,
    sizeCalculation: ({ policies }) => policies.size + 4,
  });
  const made = new WeakMap<Slice, number>();

  function remainderOf(slice: Slice, left: readonly Left[]): Remainder | null {
    const name = `${slice.key}${left.map(({ at, isMet }) => `${isMet ? '+' : '?'}${at}`).join('')}`;
    const found = known.get(name);
    if (found !== undefined) return found;
    const count = made.get(slice) ?? 0;
    if (count >= mostRemainders) return null;
    made.set(slice, count + 1);
    const asked = Object.fromEntries(left.map(({ policy, isMet }) => [policy.id, isMet ? policy.bare : policy.asked]));
    const remainder = { policies: new Map(left.map(({ policy }) => [policy.id, policy])), asked, key: sha256(name) };
    known.set(name, remainder);
    return remainder;
  }

  return {
    ask(slice, { call, values }) {
      const left = hasOddNames(values) ? null : leftOf(slice, values);
      const remainder = left === null || !isWorthwhile(slice, left) ? null : remainderOf(slice, left);
      if (left === null || remainder === null) return { answer: askSet(call, slice.key, () => askedOf(slice)), policies: slice.policies };
      const { policies, asked, key } = remainder;
      if (!isSettled(slice, left)) return { answer: askSet(call, key, () => asked), policies };
      remainder.answer ??= cedarRuntime().cedar.isAuthorized({ ...withoutValues(call), policies: { staticPolicies: asked } });
      return { answer: remainder.answer, policies };
    },
  };
}

interface Left {
  readonly policy: CompiledPolicy;
  /** Where it stands in the slice. */
  readonly at: number;
  readonly isMet: boolean;
}

/** Null: too much is left. */
function leftOf(slice: Slice, values: Projected['values']): readonly Left[] | null {
  const left: Left[] = [];
  let at = 0;
  for (const policy of slice.policies.values()) {
    const met = policy.test?.(values);
    if (met !== false) left.push({ policy, at, isMet: met === true });
    if (left.length > mostLeft) return null;
    at += 1;
  }
  return left;
}

/** All of it is known but the scopes, and those are the same for all questions of the slice. */
function isSettled({ isPlain }: Slice, left: readonly Left[]): boolean {
  return isPlain && left.every(({ isMet }) => isMet);
}

/** Parsed sets are bounded, and of a few policies more Cedar makes little: one of its own is only for what leaves out much. */
function isWorthwhile(slice: Slice, left: readonly Left[]): boolean {
  return isSettled(slice, left) || (slice.policies.size >= fewPolicies && 2 * left.length <= slice.policies.size);
}

function askSet(call: CedarRequest, key: string, asked: () => Record<string, Policy>): AuthorizationAnswer {
  const runtime = cedarRuntime();
  return runtime.cedar.statefulIsAuthorized({ ...call, preparsedPolicySetId: runtime.preparedSet(key, asked) });
}

function askedOf({ policies }: Slice): Record<string, Policy> {
  return Object.fromEntries([...policies].map(([id, { asked }]) => [id, asked]));
}

/** Nothing that is left reads any; the group of an action is told by its entity. */
function withoutValues(call: CedarRequest): CedarRequest {
  return { ...call, context: {}, entities: call.entities.filter(({ parents }) => parents.length > 0) };
}

/** Cedar takes what is called so for more than a value. */
function hasOddNames({ context }: Projected['values']): boolean {
  return Object.keys(context.arguments ?? {}).some((name) => name.startsWith('__'));
}
