import type { PolicyObligation } from '@nexus-agent/protocol';
import { closest } from '#core';

/** Obligations of one policy as its annotation states them. `unknown` lists what cannot be met, which denies. */
export interface StatedObligations {
  readonly requireApproval?: { readonly role?: string };
  readonly maxTokens?: number;
  readonly unknown: readonly string[];
}

export const noObligations: StatedObligations = { unknown: [] };

/** Reads `@obligation("require_approval:role=lead, cap_tokens:500")`. */
export function parseObligations(annotation: string): StatedObligations {
  return combine(annotation.split(',').map((part) => parseOne(part.trim())));
}

function parseOne(text: string): StatedObligations {
  if (text === 'require_approval') return { requireApproval: {}, unknown: [] };
  const role = /^require_approval:role=([A-Za-z0-9_.-]{1,64})$/.exec(text)?.[1];
  // Roles are compared in small letters.
  if (role !== undefined) return { requireApproval: { role: role.toLowerCase() }, unknown: [] };
  const maxTokens = Number(/^cap_tokens:([1-9][0-9]{0,11})$/.exec(text)?.[1]);
  if (maxTokens > 0) return { maxTokens, unknown: [] };
  return { unknown: [`unknown obligation "${text.slice(0, 100)}"; ${rightObligation(text)}`] };
}

function rightObligation(text: string): string {
  const [word = ''] = text.split(/[:=]/);
  switch (closest(word.trim(), ['require_approval', 'cap_tokens'])) {
    case 'require_approval':
      return 'an approval is asked for by require_approval, or require_approval:role=<role> with a role of 1 to 64 letters, digits, dots, - or _';
    case 'cap_tokens':
      return 'a cap is a whole number of tokens from 1, as in cap_tokens:500';
    default:
      return 'known are require_approval, require_approval:role=<role> and cap_tokens:<tokens>';
  }
}

/**
 * All obligations together, the strictest of each kind: any approval beats none, a role beats no role, the lowest cap
 * holds. Two different roles cannot be met by the one answer that an approval takes, so they deny.
 */
function combine(stated: readonly StatedObligations[]): StatedObligations {
  const approvals = stated.flatMap((one) => (one.requireApproval === undefined ? [] : [one.requireApproval]));
  const roles = [...new Set(approvals.flatMap(({ role }) => (role === undefined ? [] : [role])))].sort();
  const caps = stated.flatMap((one) => (one.maxTokens === undefined ? [] : [one.maxTokens]));
  const [role] = roles;
  return {
    ...(approvals.length === 0 ? {} : { requireApproval: role === undefined ? {} : { role } }),
    ...(caps.length === 0 ? {} : { maxTokens: Math.min(...caps) }),
    unknown: [
      ...stated.flatMap((one) => one.unknown),
      ...(roles.length > 1 ? [`one approval cannot be given by the roles ${roles.join(' and ')} at once`] : []),
    ],
  };
}

/** What an allowed request still owes after the approval that was given, if any. */
export function settleObligations(
  stated: readonly StatedObligations[],
  approved: { readonly role?: string } | undefined,
):
  | { readonly effect: 'allow' | 'require_approval'; readonly obligations: PolicyObligation[] }
  | { readonly effect: 'deny'; readonly errors: readonly string[] } {
  const { requireApproval, maxTokens, unknown } = combine(stated);
  if (unknown.length > 0) return { effect: 'deny', errors: unknown };
  const open = requireApproval !== undefined && !satisfies(approved, requireApproval.role);
  return {
    effect: open ? 'require_approval' : 'allow',
    obligations: [
      ...(open ? [{ type: 'require_approval' as const, ...requireApproval }] : []),
      ...(maxTokens === undefined ? [] : [{ type: 'cap_tokens' as const, maxTokens }]),
    ],
  };
}

/** An owner stands in for every role. */
function satisfies(approved: { readonly role?: string } | undefined, role: string | undefined): boolean {
  if (approved === undefined) return false;
  const given = approved.role?.toLowerCase();
  return role === undefined || given === role || given === 'owner';
}
