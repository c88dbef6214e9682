import type { BudgetLimits } from '@nexus-agent/protocol';
import type { Command } from 'commander';
import type { LimitUnit } from '#core';
import { typedAmount } from '../amounts.ts';

/** Amounts as they were typed. */
export interface BudgetFlags {
  readonly budgetUsd?: string;
  readonly budgetTokens?: string;
  readonly budgetToolCalls?: string;
  readonly budgetTime?: string;
}

/** The limits of something that is created, each with the unit that people give it. */
export function withBudget(command: Command, of: string): Command {
  return command
    .option('--budget-usd <amount>', `limit of the ${of} in US dollars, such as 0.50`)
    .option('--budget-tokens <amount>', `limit of the ${of} in tokens, such as 200000 or 200k`)
    .option('--budget-tool-calls <amount>', `limit of the ${of} in tool calls`)
    .option('--budget-time <time>', `limit of the ${of} in time at work, such as 90s or 10m`);
}

/** The limits that were given; none when none was. Throws a usage error for what is no amount. */
export async function budgetOf({ budgetUsd, budgetTokens, budgetToolCalls, budgetTime }: BudgetFlags): Promise<{ budget?: BudgetLimits }> {
  const given: readonly (readonly [LimitUnit, string, string | undefined])[] = [
    ['usd', '--budget-usd', budgetUsd],
    ['tokens', '--budget-tokens', budgetTokens],
    ['toolCalls', '--budget-tool-calls', budgetToolCalls],
    ['wallMs', '--budget-time', budgetTime],
  ];
  const budget: BudgetLimits = {};
  for (const [unit, option, text] of given) {
    if (text === undefined) continue;
    const { unit: stored, limit } = await typedAmount(text, unit, option);
    Object.assign(budget, { [stored]: limit });
  }
  return Object.keys(budget).length === 0 ? {} : { budget };
}
