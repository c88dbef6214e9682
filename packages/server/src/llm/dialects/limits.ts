import { NexusError } from '#core';
import type { StreamContext } from './upstream.ts';

/** What an answer may hold, whoever sends it: more is not one that anybody asked for, and is given up. */
export const answerLimits = {
  /** Characters of all texts, thoughts, proofs and calls together, where nothing else is set. */
  chars: 2_000_000,
  /** Tool calls: agents have some tens of tools, and models make a handful of calls at once. */
  calls: 512,
  /** Texts, thoughts and calls in turn. */
  parts: 2_000,
  /** No tool has a longer name. */
  nameChars: 256,
  /** Gateways put proofs of what was thought into the ids of calls. */
  idChars: 16_384,
  /** In one event: alternatives of an answer, pieces of calls, pieces of text. */
  choices: 128,
  callPieces: 1_000,
  textPieces: 10_000,
} as const;

/** The same request may well get the same: such an answer is paid, and not asked for twice. */
export function tooLarge({ provider, model }: Pick<StreamContext, 'provider' | 'model'>, what: string): NexusError {
  return new NexusError('provider_malformed', `${provider} sent an answer with ${what}, which is given up`, {
    details: { provider, model },
    retryable: false,
  });
}
