import type { BudgetLimits, BudgetUnit } from '@nexus-agent/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import { type LimitUnit, limitOf } from '../amounts.ts';

/** Amounts in the units of the ledger. */
export interface BudgetFlags {
  readonly budgetUsd?: number;
  readonly budgetTokens?: number;
  readonly budgetToolCalls?: number;
  readonly budgetTime?: number;
}

/** The limits of something that is created, each with the unit that people give it. */
export function withBudget(command: Command, of: string): Command {
  return command
    .option('--budget-usd <amount>', `limit of the ${of} in US dollars`, amountIn('usd'))
    .option('--budget-tokens <amount>', `limit of the ${of} in tokens, such as 200000 or 200k`, amountIn('tokens'))
    .option('--budget-tool-calls <amount>', `limit of the ${of} in tool calls`, amountIn('toolCalls'))
    .option('--budget-time <time>', `limit of the ${of} in time at work, such as 90s or 10m`, amountIn('wallMs'));
}

/** Reads an amount, or says what would be one. */
function amountIn(unit: LimitUnit): (text: string) => number {
  return (text) => {
    try {
      return limitOf(text, unit).limit;
    } catch (error) {
      throw new InvalidArgumentError(`${error instanceof Error ? error.message : error}.`);
    }
  };
}

/** The limits that were given; none when none was. */
export function budgetOf({ budgetUsd, budgetTokens, budgetToolCalls, budgetTime }: BudgetFlags): { budget?: BudgetLimits } {
  const given: Readonly<Record<BudgetUnit, number | undefined>> = {
    costMicroUsd: budgetUsd,
    tokens: budgetTokens,
    toolCalls: budgetToolCalls,
    wallMs: budgetTime,
  };
  const budget = Object.fromEntries(Object.entries(given).filter(([, amount]) => amount !== undefined));
  return Object.keys(budget).length === 0 ? {} : { budget };
}
