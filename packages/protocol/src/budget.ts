import { z } from 'zod';

/** Units of a budget. Money is integer micro-USD, time is milliseconds. */
export const BudgetUnit = z.enum(['costMicroUsd', 'tokens', 'toolCalls', 'wallMs']);
export type BudgetUnit = z.infer<typeof BudgetUnit>;
export const budgetUnits = BudgetUnit.options;

/** Scopes from the widest to the narrowest. */
export const BudgetScopeKind = z.enum(['tenant', 'project', 'agent', 'user', 'session', 'run']);
export type BudgetScopeKind = z.infer<typeof BudgetScopeKind>;

export const BudgetScope = z.object({ kind: BudgetScopeKind, id: z.string().min(1).max(200) });
export type BudgetScope = z.infer<typeof BudgetScope>;

/** A window restarts at midnight UTC (`day`) or on the first of the month UTC (`month`); `total` never does. */
export const BudgetWindow = z.enum(['total', 'day', 'month']);
export type BudgetWindow = z.infer<typeof BudgetWindow>;

/** Largest amount of any unit: sums of thousands of these stay exact in a double and in a 64-bit column. */
const maxBudgetAmount = 1_000_000_000_000;
export const budgetAmount = z.int().min(0).max(maxBudgetAmount);

/** Limits by unit; a unit that is absent is not limited. */
export const BudgetLimits = z
  .strictObject({
    costMicroUsd: budgetAmount.optional(),
    tokens: budgetAmount.optional(),
    toolCalls: budgetAmount.optional(),
    wallMs: budgetAmount.optional(),
  })
  .meta({ id: 'BudgetLimits', description: 'Limits by unit; costMicroUsd is millionths of a US dollar' });
export type BudgetLimits = z.infer<typeof BudgetLimits>;

/** Amounts by unit, absent means none. */
export const BudgetAmounts = z.object({
  costMicroUsd: z.int().optional(),
  tokens: z.int().optional(),
  toolCalls: z.int().optional(),
  wallMs: z.int().optional(),
});
export type BudgetAmounts = z.infer<typeof BudgetAmounts>;

export const BudgetView = z.object({ limit: BudgetAmounts, spent: BudgetAmounts, reserved: BudgetAmounts }).meta({ id: 'BudgetView' });
export type BudgetView = z.infer<typeof BudgetView>;

/** Why a reservation was refused: the first scope that could not afford it. */
export const BudgetRefusal = z
  .object({
    scope: BudgetScope,
    unit: BudgetUnit,
    window: BudgetWindow,
    limit: z.int(),
    asked: z.int(),
    /** Neither spent nor reserved. */
    available: z.int(),
    /** What open reservations hold, and may give back. */
    reserved: z.int().optional(),
    /** So long it waited for what other calls held. */
    waitedMs: z.int().optional(),
  })
  .meta({ id: 'BudgetRefusal' });
export type BudgetRefusal = z.infer<typeof BudgetRefusal>;
