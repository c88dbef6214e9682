import type { DetailedError, EntityUidJson, Policy, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { NexusError } from '#core';
import { type Cedar, cedarRuntime } from './cedar.ts';
import { contradiction } from './contradictions.ts';
import parsed from './default-policies.json' with { type: 'json' };
import { defaultPolicies } from './defaults.ts';
import { type Mentions, mentionsOf } from './mentions.ts';
import { noObligations, parseObligations, type StatedObligations } from './obligations.ts';
import { type Analysis, analyse, type Reads, UnreadableArgument } from './reads.ts';
import { type ArgumentTypes, actionGroups, schemaText, type ValueKind } from './schema.ts';
import { misspelling, toolsNamed } from './spelling.ts';
import { type Test, testOf } from './tests.ts';
import type { PolicySource } from './types.ts';

/** What a policy's scope asks for; absent means anything. */
export interface Scope {
  readonly actions?: ReadonlySet<string>;
  readonly principalType?: string;
  readonly principalId?: string;
  readonly resourceType?: string;
  readonly resourceId?: string;
}

/** A policy ready to be sliced and evaluated. */
export interface CompiledPolicy {
  readonly id: string;
  /** Cedar text; also the explanation that people see. */
  readonly text: string;
  /** What Cedar is given: the text, or as much as is left of it for what is asked, as syntax that it need not read. */
  readonly asked: Policy;
  /** The same without its conditions. */
  readonly bare: PolicyJson;
  /** What of its conditions can be told without Cedar; left out where nothing can. */
  readonly test?: Test | undefined;
  readonly scope: Scope;
  readonly reads: Reads;
  readonly obligations: StatedObligations;
  /** A permit that only adds its obligations to what something else permits. */
  readonly advice: boolean;
  /** One of the operator's own that permits by itself. */
  readonly grants?: boolean;
  /** A forbid on a tool's path: it holds for each file that the tool touches, named by an argument or not. */
  readonly forbidsPath?: boolean;
}

export interface CompiledSources {
  readonly policies: readonly CompiledPolicy[];
  readonly argumentTypes: ArgumentTypes;
  readonly schema: string;
  /** The tools that each policy names one by one, by its id. */
  readonly toolsNamed: ReadonlyMap<string, readonly string[]>;
  /** What policies of the operator speak of that may not be there, by their ids. */
  readonly mentions: ReadonlyMap<string, Mentions>;
}

/** Annotations that mean something here. Any other is refused: a misspelt `@obligation` would be a plain permit. */
const annotations = new Set(['id', 'description', 'obligation', 'advice']);

const maxSourceChars = 2_000_000;

export interface CompileOptions {
  /** They were taken before, perhaps by a version that was less exact: an obligation that is not known is left to the decision, which denies. */
  readonly inForce?: boolean;
}

/**
 * Parses and validates all sources together. Throws `invalid_request` naming the source, the place and what is wrong. The defaults are
 * parsed already, so that Cedar is not needed where there is nothing else.
 */
export function compileSources(sources: readonly PolicySource[], { inForce = false }: CompileOptions = {}): CompiledSources {
  const all = sources.flatMap((source) =>
    source === defaultPolicies ? parsedDefaults() : parseSource(cedarRuntime().cedar, source, inForce),
  );
  requireUnique(
    sources.map(({ name }) => name),
    (name) => `two policy sources are named "${name}"`,
  );
  requireUnique(
    all.map(({ id }) => id),
    (id) => `two policies have the id ${id}`,
  );
  const argumentTypes = typesOfArguments(all);
  const schema = schemaText(argumentTypes);
  // The defaults are validated by a test: doing it here would hold up the first decision.
  for (const source of sources) if (source !== defaultPolicies) validateSource(cedarRuntime().cedar, source, schema);
  return {
    argumentTypes,
    schema,
    toolsNamed: new Map(all.map(({ id, json }) => [id, toolsNamed(json)])),
    mentions: new Map(all.map(({ id, json, analysis }) => [id, mentionsOf(json, scopeOf(json), analysis.reads)])),
    policies: all.map(({ id, text, json, analysis }) => ({
      id,
      text,
      // That of the operator is given as the text: written out as JSON, what is deep would be too deep to be read.
      asked: id.startsWith(`${defaultPolicies.name}:`) ? json : text,
      bare: bareOf(json),
      test: testOf(json.conditions),
      scope: scopeOf(json),
      reads: analysis.reads,
      obligations: obligationsOf(json),
      advice: isAdvice(json),
      forbidsPath: forbidsPath(json, analysis.reads),
      grants: json.effect === 'permit' && !isAdvice(json) && !id.startsWith(`${defaultPolicies.name}:`),
    })),
  };
}

export interface ParsedPolicy {
  readonly id: string;
  readonly text: string;
  readonly json: PolicyJson;
  readonly analysis: Analysis;
  readonly place: string;
}

/** The texts of the defaults and what Cedar reads from them, which a test compares. */
function parsedDefaults(): ParsedPolicy[] {
  const policies = parsed as { text: string; json: PolicyJson }[]; // written by scripts/default-policies.ts from Cedar's answers
  return policies.map(({ text, json }, index) => {
    const id = `${defaultPolicies.name}:${json.annotations?.id ?? index}`;
    return { id, text, json, analysis: analyse(json), place: id };
  });
}

/** One source, as Cedar reads it. */
export function parseSource(cedar: Cedar, source: PolicySource, inForce: boolean): ParsedPolicy[] {
  if (source.text.length > maxSourceChars) throw invalid(source.name, `it is longer than ${maxSourceChars} characters`);
  const parts = cedar.policySetTextToParts(source.text);
  if (parts.type === 'failure') throw invalid(placeOf(source, parts.errors[0]), describe(parts.errors));
  if (parts.policy_templates.length > 0) throw invalid(source.name, 'templates (?principal, ?resource) are not supported; write a policy');
  let offset = 0;
  return inSourceOrder(parts.policies).map((text, index) => {
    offset = source.text.indexOf(text, offset);
    const place = lineAndColumn(source.text, offset);
    offset += text.length;
    const answer = cedar.policyToJson(text);
    if (answer.type === 'failure') throw invalid(`${source.name}:${place}`, describe(answer.errors));
    const json = answer.json;
    checkAnnotations(`${source.name}:${place}`, json, inForce);
    // One that is in force stays, and denies no more than it did.
    const wrong = misspelling(json) ?? (inForce ? null : contradiction(json));
    if (wrong !== null) throw invalid(`${source.name}:${place}`, wrong);
    const prefix = source.name === defaultPolicies.name ? 'default' : `operator:${source.name}`;
    return {
      id: `${prefix}:${json.annotations?.id ?? index}`,
      text,
      json,
      analysis: analyseAt(`${source.name}:${place}`, json),
      place: `${source.name}:${place}`,
    };
  });
}

/** The scope of a policy, and its effect. */
export function bareOf({ effect, principal, action, resource }: PolicyJson): PolicyJson {
  return { effect, principal, action, resource, conditions: [] };
}

/** Cedar names policies policy0, policy1, … in the order of the text, but lists them sorted as texts (policy10 before policy2). */
function inSourceOrder(listed: readonly string[]): string[] {
  const ids = listed.map((_, index) => `policy${index}`).sort();
  return listed
    .map((text, position) => ({ text, index: Number((ids[position] ?? '').slice('policy'.length)) }))
    .sort((a, b) => a.index - b.index)
    .map(({ text }) => text);
}

/** `@obligation` alone, without a text, is one that is not known. */
function obligationsOf({ annotations }: PolicyJson): StatedObligations {
  return annotations !== undefined && 'obligation' in annotations ? parseObligations(annotations.obligation ?? '') : noObligations;
}

/** Obligations that nothing meets where the policy applies: an approval that nobody can give, a cap on what has no tokens. */
function unmet({ requireApproval, maxTokens }: StatedObligations, actions: ReadonlySet<string> | undefined): string[] {
  if (actions === undefined) return [];
  const named = [...actions].join(', ');
  return [
    ...(requireApproval !== undefined && !actions.has('tool.execute')
      ? [`only tool.execute waits for an approval; on ${named} this would deny. Use a forbid, or ask before the tools that lead there`]
      : []),
    ...(maxTokens !== undefined && !actions.has('model.invoke') ? [`cap_tokens holds model.invoke; on ${named} it would do nothing`] : []),
  ];
}

/** `when` alone: what a forbid excepts by `unless` speaks of the argument, such as a folder to search in. */
function forbidsPath({ effect, conditions }: PolicyJson, reads: Reads): boolean {
  return effect === 'forbid' && reads.arguments.has('path') && conditions.every(({ kind }) => kind === 'when');
}

function isAdvice({ annotations }: PolicyJson): boolean {
  return annotations !== undefined && 'advice' in annotations;
}

function checkAnnotations(place: string, json: PolicyJson, inForce: boolean): void {
  const stated = json.annotations ?? {};
  for (const name of Object.keys(stated)) {
    if (!annotations.has(name))
      throw invalid(place, `unknown annotation @${name}; known are ${[...annotations].map((known) => `@${known}`).join(', ')}`);
  }
  if (json.effect === 'forbid' && ('obligation' in stated || 'advice' in stated))
    throw invalid(place, 'a forbid can have neither @obligation nor @advice: it denies whatever is owed');
  if ('advice' in stated && !('obligation' in stated)) throw invalid(place, '@advice without @obligation does nothing');
  if (inForce) return;
  const obligations = obligationsOf(json);
  const [wrong] = [...obligations.unknown, ...unmet(obligations, scopeOf(json).actions)];
  if (wrong !== undefined) throw invalid(place, wrong);
}

function analyseAt(place: string, json: PolicyJson): Analysis {
  try {
    return analyse(json);
  } catch (error) {
    if (error instanceof UnreadableArgument) throw invalid(place, error.message);
    throw error;
  }
}

/** An argument has one type in all policies together, so that one schema serves every slice. */
function typesOfArguments(parsed: readonly ParsedPolicy[]): Map<string, ValueKind> {
  const types = new Map<string, { kind: ValueKind; place: string }>();
  for (const { analysis, place } of parsed) {
    for (const [name, kinds] of analysis.argumentUses) {
      for (const kind of kinds) {
        const known = types.get(name);
        if (known === undefined || known.kind === 'Presence') types.set(name, { kind, place });
        else if (kind !== 'Presence' && kind !== known.kind)
          throw invalid(
            place,
            `context.arguments.${name} is used as ${kind} here and as ${known.kind} at ${known.place}; use one type, or context.argumentsJson`,
          );
      }
    }
  }
  return new Map([...types].map(([name, { kind }]) => [name, kind]));
}

function validateSource(cedar: Cedar, source: PolicySource, schema: string): void {
  const answer = cedar.validate({ schema, policies: { staticPolicies: source.text }, validationSettings: { mode: 'strict' } });
  if (answer.type === 'failure') throw invalid(placeOf(source, answer.errors[0]), describe(answer.errors));
  // A warning means that a policy can never apply or reads like another text than it is: for a forbid, a hole.
  const [first] = [...answer.validationErrors, ...answer.validationWarnings];
  if (first !== undefined) throw invalid(placeOf(source, first.error), describe([first.error]));
}

function scopeOf(json: PolicyJson): Scope {
  const actions =
    json.action.op === 'All' ? undefined : new Set(actionEntities(json.action).flatMap((entity) => actionsOf(uidOf(entity).id)));
  const principal = entityScope(json.principal);
  const resource = entityScope(json.resource);
  return {
    ...(actions === undefined ? {} : { actions }),
    ...(principal.type === undefined ? {} : { principalType: principal.type }),
    ...(principal.id === undefined ? {} : { principalId: principal.id }),
    ...(resource.type === undefined ? {} : { resourceType: resource.type }),
    ...(resource.id === undefined ? {} : { resourceId: resource.id }),
  };
}

function actionEntities(constraint: Exclude<PolicyJson['action'], { op: 'All' }>): EntityUidJson[] {
  if ('entities' in constraint) return constraint.entities;
  return 'entity' in constraint ? [constraint.entity] : [];
}

function actionsOf(id: string): readonly string[] {
  return actionGroups[id] ?? [id];
}

/** `in` is left to Cedar: an entity may belong to a group of another type. */
function entityScope(constraint: PolicyJson['principal'] | PolicyJson['resource']): { type?: string; id?: string } {
  if (constraint.op === '==' && 'entity' in constraint) return uidOf(constraint.entity);
  if (constraint.op === 'is') return { type: constraint.entity_type };
  return {};
}

function uidOf(entity: EntityUidJson): { type: string; id: string } {
  return '__entity' in entity ? entity.__entity : entity;
}

function requireUnique(names: readonly string[], message: (name: string) => string): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new NexusError('invalid_request', message(name));
    seen.add(name);
  }
}

function invalid(place: string, what: string): NexusError {
  return new NexusError('invalid_request', `policy ${place}: ${what}`, { details: { policy: place } });
}

function describe(errors: readonly DetailedError[]): string {
  return errors
    .slice(0, 3)
    .map(({ message, help, sourceLocations }) => {
      const label = sourceLocations?.[0]?.label;
      return [message, label, help].filter((part) => part !== null && part !== undefined && part !== '').join('; ');
    })
    .join(' | ');
}

function placeOf(source: PolicySource, error: DetailedError | undefined): string {
  const start = error?.sourceLocations?.[0]?.start;
  if (start === undefined) return source.name;
  // Cedar counts bytes.
  return `${source.name}:${lineAndColumn(Buffer.from(source.text).subarray(0, start).toString(), Number.POSITIVE_INFINITY)}`;
}

function lineAndColumn(text: string, offset: number): string {
  const lines = text.slice(0, offset).split('\n');
  return `${lines.length}:${(lines.at(-1)?.length ?? 0) + 1}`;
}
