import { ErrorInfo } from '@nexus-agent/protocol';
import { NexusError, type SchemaValidator, type SecretValues } from '#core';
import { outputFault, type Tool, type ToolCallEnd, type ToolResult } from '#tools/contract';
import { boundError, boundText } from './bounds.ts';
import { type LongText, laidOut } from './laid-out.ts';

export interface ToolFault {
  readonly toolName: string;
  readonly callId: string;
  readonly error: unknown;
}

/** What came of a tool; `silent` when it gave no answer by the end of the grace. */
export type Outcome =
  | { readonly type: 'returned'; readonly result: ToolResult }
  | { readonly type: 'threw'; readonly error: unknown }
  | { readonly type: 'silent' };

/** The end of a call but for its duration. */
export type Conclusion =
  | Omit<Extract<ToolCallEnd, { type: 'suspended' }>, 'durationMs' | 'waitedMs'>
  | Omit<Extract<ToolCallEnd, { type: 'completed' }>, 'durationMs' | 'waitedMs'>
  | Omit<Extract<ToolCallEnd, { type: 'failed' }>, 'began' | 'durationMs' | 'waitedMs'>;

/** A result that is longer than what reaches the model, as the tool gave it. */
export interface LongResult {
  readonly type: 'long';
  readonly text: string;
  /** What comes after it: long texts of the same result. */
  readonly sections: readonly LongText[];
  readonly mediaType: string;
  readonly costMicroUsd: number;
}

export interface OutcomeRules {
  readonly schemas: SchemaValidator;
  /** Most characters of one result that reach the model, the note about a cut included; also of an error with its details. */
  readonly maxOutputChars: number;
  /** What no result may hold. */
  readonly secrets: SecretValues;
  /** Hears what a tool threw that was no `NexusError`: for the log, because the model only learns that the tool failed. */
  readonly onFault: ((fault: ToolFault) => void) | undefined;
}

export interface ConcludedCall {
  readonly callId: string;
  readonly tool: Tool;
  /** Aborted when the tool was told to stop; its reason says why. */
  readonly signal: AbortSignal;
  /** Whether a result that is too long is kept, instead of being cut. */
  readonly keepsLong: boolean;
}

/**
 * What the caller hears of an outcome. A tool that answers after it was told to stop keeps its answer: what it says is
 * better known than what we would assume.
 */
export function conclude(rules: OutcomeRules, call: ConcludedCall, outcome: Outcome): Conclusion | LongResult {
  try {
    return concludeWhole(rules, call, outcome);
  } catch (error) {
    // What a tool gave or threw can throw itself, wherever it is read: nobody else would hear of it.
    return fault(rules, call, error, `the tool ${call.tool.name} failed unexpectedly`);
  }
}

function concludeWhole(rules: OutcomeRules, call: ConcludedCall, outcome: Outcome): Conclusion | LongResult {
  if (outcome.type === 'silent') return failed(interrupted(call));
  if (outcome.type === 'threw') {
    if (call.signal.aborted) return failed(interrupted(call));
    if (outcome.error instanceof NexusError) return failed(cleanError(rules, outcome.error.toInfo()));
    return fault(rules, call, outcome.error, `the tool ${call.tool.name} failed unexpectedly`);
  }
  const { result } = outcome;
  // A tool that was written without types can give anything.
  if (result?.type === 'ok') return concludeOk(rules, call, result);
  if (result?.type === 'suspended') return concludeSuspended(rules, call, result);
  const error = result?.type === 'error' ? ErrorInfo.safeParse(result.error) : undefined;
  if (error?.success !== true)
    return fault(rules, call, new TypeError('a tool must give a result'), `the tool ${call.tool.name} failed unexpectedly`);
  const stopped = call.signal.aborted && error.data.code === 'cancelled';
  return failed(stopped ? interrupted(call) : cleanError(rules, error.data));
}

/** Without secrets, then bounded: half of one that a cut leaves is told by nothing. */
export function cleanError({ secrets, maxOutputChars }: OutcomeRules, { details, ...error }: ErrorInfo): ErrorInfo {
  const clean = { ...error, message: secrets.outward(error.message) };
  return boundError(details === undefined ? clean : { ...clean, details: cleanDetails(secrets, details) }, maxOutputChars);
}

/** By way of JSON: a tool may have put anything there, itself included. */
function cleanDetails(secrets: SecretValues, details: Record<string, unknown>): Record<string, unknown> {
  try {
    const json = JSON.stringify(details);
    const clean = secrets.outward(secrets.inText(json));
    return clean === json ? details : JSON.parse(clean);
  } catch {
    return {};
  }
}

/** An unexpected error goes to the log; the caller only learns `message`. */
export function fault(
  { onFault }: OutcomeRules,
  { callId, tool }: { readonly callId: string; readonly tool: Pick<Tool, 'name'> },
  error: unknown,
  message: string,
): Conclusion {
  onFault?.({ toolName: tool.name, callId, error });
  return failed({ code: 'tool_failed', message, retryable: false });
}

export function failed(error: ErrorInfo): Conclusion {
  return { type: 'failed', error };
}

function concludeOk(rules: OutcomeRules, call: ConcludedCall, result: ToolResult & { type: 'ok' }): Conclusion | LongResult {
  const { tool } = call;
  try {
    const unfit = outputFault(rules.schemas, tool, result.output);
    if (unfit !== null) {
      const { path, expected } = unfit.issue;
      // The log learns where, not what was there: outputs are nobody's business but the model's.
      return fault(rules, call, new TypeError(`at "${path}" the output is not ${expected}`), unfit.message);
    }
    const isText = typeof result.output === 'string';
    // No store and no provider takes half a character.
    const text = isText ? String(result.output).toWellFormed() : (JSON.stringify(result.output) ?? '');
    const costMicroUsd = costOf(tool, result);
    if (call.keepsLong && text.length > rules.maxOutputChars) {
      const long = isText ? { text, sections: [] } : laidOut(text);
      return { type: 'long', ...long, mediaType: isText || long.sections.length > 0 ? 'text/plain' : 'application/json', costMicroUsd };
    }
    return { type: 'completed', output: boundText(rules.secrets.inText(text), rules.maxOutputChars), costMicroUsd };
  } catch (error) {
    return fault(rules, call, error, `the output of the tool ${tool.name} cannot be sent as JSON`);
  }
}

/** Where a tool that may not call others says that it waits for some, nobody would ever go on with it. */
function concludeSuspended(rules: OutcomeRules, call: ConcludedCall, result: ToolResult & { type: 'suspended' }): Conclusion {
  const { tool, signal } = call;
  if (signal.aborted) return failed(interrupted(call));
  const mayAsk = (name: string) => tool.callsTools === true || tool.asks?.includes(name) === true;
  if (result.calls.length === 0 || !result.calls.every(({ name }) => mayAsk(name)))
    return fault(rules, call, new TypeError('it waits for calls that nobody makes'), `the tool ${tool.name} failed unexpectedly`);
  // What code hands to others has to stay as it is; what a stranger asks does not.
  const shown = (input: string) => (tool.asks === undefined ? input : rules.secrets.inText(input));
  const calls = result.calls.map((wanted) => ({ ...wanted, input: shown(wanted.input) }));
  return { ...result, calls, printed: boundText(rules.secrets.inText(result.printed), rules.maxOutputChars) };
}

function interrupted({ tool, signal }: ConcludedCall): ErrorInfo {
  const reason = signal.reason instanceof NexusError ? signal.reason : new NexusError('cancelled', 'the call was cancelled');
  if (tool.effects !== 'once') return reason.toInfo();
  return {
    code: 'tool_outcome_unknown',
    message: `${reason.message}; whether ${tool.name} took effect is not known`,
    retryable: false,
    details: { cause: reason.code },
  };
}

/** A cost that is not said, or makes no sense, is booked as the most that the call may cost: never too little. */
function costOf(tool: Tool, result: ToolResult & { type: 'ok' }): number {
  const { costMicroUsd: cost = Number.NaN } = result;
  return Number.isSafeInteger(cost) && cost >= 0 ? cost : (tool.maxCostMicroUsd ?? 0);
}
