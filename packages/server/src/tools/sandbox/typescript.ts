import { stripTypeScriptTypes } from 'node:module';

export type Stripped =
  /** Plain JavaScript, with a space or a line end in each place that a type had: lines and columns stay what they were. */
  | { readonly type: 'stripped'; readonly code: string }
  /** `line` of the fault, where it is known. */
  | { readonly type: 'unsupported' | 'invalid'; readonly message: string; readonly line: number | undefined }
  /** The parser itself gave up, and can parse nothing any more. */
  | { readonly type: 'broken' };

/** Lets a text return at its top level, on the lines that it has. */
const opening = '(async () => {';
const closing = '\n})';

/**
 * Takes the types out of TypeScript that means the same without them, and checks none. It blocks its thread for as long as it takes, which
 * hostile text makes very long: whoever calls it runs in a thread that is killed.
 */
export function stripTypes(code: string): Stripped {
  const whole = strip(code);
  if (whole.type !== 'invalid' || !whole.message.startsWith('Return statement')) return whole;
  const body = strip(`${opening}${code}${closing}`);
  return body.type === 'stripped' ? { ...body, code: body.code.slice(opening.length, -closing.length) } : body;
}

function strip(code: string): Stripped {
  try {
    return { type: 'stripped', code: stripTypeScriptTypes(code) };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) return { type: 'broken' };
    const { message, stack } = error;
    // It says where in the first line of the stack alone.
    const line = /^:(\d+)\n/.exec(stack ?? '')?.[1];
    const fault = { message, line: line === undefined ? undefined : Number(line) };
    if (error.code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') return { type: 'unsupported', ...fault };
    if (error.code === 'ERR_INVALID_TYPESCRIPT_SYNTAX') return { type: 'invalid', ...fault };
    return { type: 'broken' };
  }
}
