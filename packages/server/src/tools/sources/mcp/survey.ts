import { maxJsonDepth, NexusError } from '#core';

export interface SurveyLimits {
  readonly maxBytes: number;
  /** Items, members, lists and objects: what takes time is not text but values. */
  readonly maxValues: number;
}

/** A line of an event stream may hold a whole message, an empty one nothing: each is looked at. */
const valuesOfLine = 5;
const maxDigits = 400;

/**
 * Counts what an answer of a server holds, as its bytes come in, before anybody parses them. Throws `limit_exceeded` once there is more
 * than may be. A line break ends a text: JSON has none within, and each line of an event stream stands for itself.
 */
export function createSurvey({ maxBytes, maxValues }: SurveyLimits): (piece: Uint8Array) => void {
  let [bytes, values, depth, digits] = [0, 0, 0, 0];
  let inText = false;
  let escaped = false;
  return (piece) => {
    bytes += piece.length;
    if (bytes > maxBytes) throw over('output', `the MCP server answered with more than ${maxBytes} bytes, which is all that is taken`);
    for (const byte of piece) {
      if (byte === 0x0a || byte === 0x0d) {
        [inText, escaped, digits] = [false, false, 0];
        values += valuesOfLine;
      } else if (inText) {
        if (escaped) escaped = false;
        else if (byte === 0x5c) escaped = true;
        else if (byte === 0x22) inText = false;
      } else if (byte >= 0x30 && byte <= 0x39) {
        digits += 1;
        if (digits > maxDigits) throw over('output', `the MCP server answered with a number of more than ${maxDigits} digits`);
      } else {
        digits = 0;
        if (byte === 0x22) inText = true;
        else if (byte === 0x2c) values += 1;
        else if (byte === 0x5b || byte === 0x7b) {
          values += 1;
          depth += 1;
          if (depth > maxJsonDepth) throw over('output', `the MCP server answered with JSON that nests deeper than ${maxJsonDepth} levels`);
        } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
      }
    }
    if (values > maxValues) throw over('output', `the MCP server answered with more than ${maxValues} values, which is all that is taken`);
  };
}

function over(limit: string, message: string): NexusError {
  return new NexusError('limit_exceeded', message, { details: { limit } });
}
