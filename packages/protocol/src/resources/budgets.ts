import { z } from 'zod';
import { BudgetScope, BudgetUnit, BudgetWindow, budgetAmount } from '../budget.ts';
import { TenantId } from '../ids.ts';

/** One row of the ledger's balance, as the API lists it. */
export const BudgetRow = z
  .object({
    scope: BudgetScope,
    unit: BudgetUnit,
    window: BudgetWindow,
    period: z.string(),
    /** Absent: counted, but not limited. */
    limit: z.int().optional(),
    inherited: z.literal(true).optional().meta({ description: 'The limit is the one of every user, `user:*`' }),
    owned: z.literal(true).optional().meta({ description: 'An owner set it: nobody else raises it or takes it away' }),
    spent: z.int(),
    reserved: z.int(),
  })
  .meta({ id: 'BudgetRow' });
export type BudgetRow = z.infer<typeof BudgetRow>;

export const SetBudgetRequest = z
  .strictObject({
    scope: BudgetScope.meta({ description: '`{ kind: user, id: "*" }` is every user without a limit of their own' }),
    tenant: TenantId.optional().meta({ description: 'Of an owner: whose scope it is, if not of their own tenant' }),
    unit: BudgetUnit,
    window: BudgetWindow.default('total'),
    limit: budgetAmount.nullable().meta({ description: 'Null: counted, but not limited; a user is then free of the limit of every user' }),
  })
  .meta({ id: 'SetBudgetRequest' });
export type SetBudgetRequest = z.infer<typeof SetBudgetRequest>;
