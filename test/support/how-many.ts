/**
 * How many of what a test draws the environment asks for, or the standard. A word, nothing or none at all is refused: a test that draws
 * nothing would pass.
 */
export function howMany(name: string, standard: number): number {
  const asked = process.env[name];
  if (asked === undefined) return standard;
  if (!/^[1-9]\d{0,8}$/.test(asked))
    throw new Error(`${name}: expected a whole number from 1 to 999,999,999, got ${JSON.stringify(asked)}`);
  return Number(asked);
}
