/** The door of core: time, ids, errors, cancellation. No I/O. */
export { abortError, throwIfAborted } from './abort.ts';
export { type LimitUnit, limitOf, limitUnits } from './amounts.ts';
export { createCountedCache } from './bounded-cache.ts';
export {
  askBreaker,
  type BreakerPass,
  type BreakerRules,
  type BreakerState,
  type BreakerVerdict,
  closedBreaker,
  tellBreaker,
} from './breaker.ts';
export { BytePieces } from './byte-pieces.ts';
export { type Clock, systemClock, toTimestamp } from './clock.ts';
export { closest } from './closest.ts';
export { NexusError, toErrorInfo } from './errors.ts';
export { isExactNumber, parseExactJson } from './exact-json.ts';
export { createIdSource, derivedId, type IdSource } from './ids.ts';
export { BrokenInvariant, type Invariant, invariants } from './invariants.ts';
export { canonicalJson, isObject, isTooDeep, maxJsonDepth, sha256 } from './json.ts';
export {
  createSchemaValidator,
  explainFaults,
  findMisspeltKeywords,
  findSchemaFaults,
  type JsonSchema,
  type SchemaIssue,
  type SchemaValidator,
} from './json-schema.ts';
export { toProblem } from './problem.ts';
export { redactFields, redactForeignText, redactText } from './redact.ts';
export { createSecretValues, mapTexts, noSecrets, type SecretValues } from './secrets/secret-values.ts';
export { decoded, isAmbiguousAddress, maskAddress } from './settings/address.ts';
export { type ConfigFile, parseConfigFile } from './settings/file.ts';
export { redactSettings } from './settings/redact.ts';
export { secretsOfSettings } from './settings/secrets.ts';
export { durationMs, group, httpUrl, setting, settingsOf } from './settings/setting.ts';
export { type ConfigSources, readConfig } from './settings/sources.ts';
export { unknownVariables } from './settings/variables.ts';
export { createShares, type Entry, type Holder, type Shares, type WaitObserver, type WaitOutcome } from './shares.ts';
export { readInSlices } from './slices.ts';
export { cutText, isBlank } from './text.ts';
export { type Cancel, settlesWithin, sleepBy, systemTimers, type Timers } from './timers.ts';
export { formatTraceparent, parseTraceparent, type SpanPlace } from './traceparent.ts';
export { createTurnShare } from './turn-share.ts';
export { unknownTool } from './unknown-tool.ts';
export { explainIssues, parseRequest, summarise } from './validation.ts';
export { matchesWildcard } from './wildcard.ts';
