/**
 * What a check may still do, in steps of some nanoseconds. Counted and not timed, so that a check says the same on a slow machine,
 * on a busy one, and when a run is told again.
 */
export interface Fuel {
  left: number;
}

/** Thrown where the fuel of a check ends. Nobody sees it: the check makes a refusal of it. */
export const outOfFuel = new Error('the check takes too many steps');

export function spend(fuel: Fuel, steps: number): void {
  fuel.left -= steps;
  if (fuel.left < 0) throw outOfFuel;
}

/** Spends what it takes to walk a value of JSON, before somebody does. */
export function spendOn(fuel: Fuel, value: unknown): void {
  spend(fuel, costOf(value));
  if (typeof value !== 'object' || value === null) return;
  for (const item of Array.isArray(value) ? value : Object.values(value)) spendOn(fuel, item);
}

function costOf(value: unknown): number {
  if (typeof value === 'string') return 16 + value.length / 8;
  return typeof value === 'object' && value !== null ? 40 : 8;
}
