/** What is newer than the types of the language that we compile against. */
interface ExactNumbers {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): boolean;
  parse(text: string, revive: (name: string, value: unknown, about: { readonly source?: string }) => unknown): unknown;
}
const exact = JSON as unknown as ExactNumbers; // every Node.js that the server runs in has them

/** Digits, or an exponent, beyond which a double may say something else than the text did. */
const mayBeInexact = /\d{16}|[eE]\+?\d{3}/;

/**
 * A JSON text, whose whole numbers beyond what a double holds stay as they were written: `JSON.stringify` gives them back digit by digit.
 * They are no numbers for whoever reads the value; see {@link isExactNumber}.
 */
export function parseExactJson(text: string): unknown {
  if (!mayBeInexact.test(text)) return JSON.parse(text);
  return exact.parse(text, (_name, value, { source }) =>
    typeof value === 'number' && source !== undefined && !isHeld(value) ? exact.rawJSON(source) : value,
  );
}

export function isExactNumber(value: unknown): boolean {
  return exact.isRawJSON(value);
}

function isHeld(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
}
