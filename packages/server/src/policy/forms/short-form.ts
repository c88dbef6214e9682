import type { Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { dictionary, PolicyShortForm } from '@nexus-agent/protocol';
import { matchesWildcard, NexusError } from '#core';
import {
  bareOf,
  type CompiledPolicy,
  hostPattern,
  noObligations,
  type Reads,
  type ResourceFacts,
  type StatedObligations,
  testOf,
} from '#policy/compile';

/**
 * A policy that a short form stands for. `mayApply` leaves it out of slices where it certainly says nothing. Where it does not, the
 * patterns are met: `asked` is the rest of the text, and reads nothing for them.
 */
export interface FormPolicy extends CompiledPolicy {
  readonly mayApply: (resource: ResourceFacts) => boolean;
}

type Kind = 'tool' | 'model' | 'net' | 'secret';

interface Entry {
  readonly kind: Kind;
  readonly pattern: string;
}

const scopes = dictionary({
  tool: { action: 'tool.execute', type: 'Tool', attributes: ['name'] },
  model: { action: 'model.invoke', type: 'Model', attributes: ['ref', 'model'] },
  net: { action: 'net.egress', type: 'Host', attributes: ['name', 'authority'] },
  secret: { action: 'secret.use', type: 'Secret', attributes: ['name'] },
} as const);

const approval: StatedObligations = { requireApproval: {}, unknown: [] };

/** Throws `invalid_request` when it is not a short form, names a host that there cannot be, or asks for an approval that nobody can give. */
export function checkShortForm(form: PolicyShortForm): void {
  checkShape(form);
  for (const list of ['allow', 'approve', 'deny'] as const) {
    form[list]?.forEach((text, index) => {
      if (list === 'approve' && /^(net|model|secret):/.test(text))
        throw new NexusError(
          'invalid_request',
          `policy approve[${index}]: only tool calls wait for an approval, so that ${text} would never be allowed; put it under allow, and under approve the tools that lead there, such as http_fetch`,
        );
      if (text.startsWith('net:') && hostPattern(text.slice('net:'.length)) === null)
        throw new NexusError(
          'invalid_request',
          `policy ${list}[${index}]: ${text} names no host; give a name without scheme and path, such as net:example.com, net:*.example.com or net:example.com:8443`,
        );
    });
  }
}

function checkShape(form: PolicyShortForm): void {
  const parsed = PolicyShortForm.safeParse(form);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new NexusError('invalid_request', `policy ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not valid'}`);
  }
}

/**
 * What an agent is granted: `allow` permits, `approve` permits after an approval, `deny` forbids. Naming models under
 * `allow` makes the list complete: the models of the definition that it does not match are then forbidden.
 */
export function compileAgentForm(form: PolicyShortForm): FormPolicy[] {
  checkShape(form);
  const allow = entriesOf(form.allow);
  const approve = entriesOf(form.approve);
  return [
    ...allow.map((entry, index) => permit(`agent:allow[${index}]`, entry, {})),
    ...approve.map((entry, index) => permit(`agent:approve[${index}]`, entry, { obligations: approval })),
    ...entriesOf(form.deny).map((entry, index) => forbid(`agent:deny[${index}]`, entry)),
    ...(allow.some(({ kind }) => kind === 'model') ? [forbidOthers('agent:allow:model', 'model', [...allow, ...approve])] : []),
  ];
}

/**
 * What an agent that does not permit by itself asks for: it narrows like a session. Without any `allow`, what it names under `approve` is all that it asks for.
 */
export function compileNarrowingAgentForm(form: PolicyShortForm): FormPolicy[] {
  checkShape(form);
  return narrow('agent', form.allow === undefined && form.approve !== undefined ? { ...form, allow: [] } : form);
}

/**
 * How a session narrows its agent; nothing here permits. With `allow`, tools and hosts that neither `allow` nor
 * `approve` matches are forbidden, and so are models once `allow` names one, and secrets once it names one. `approve` adds the approval to what is
 * permitted otherwise.
 */
export function compileSessionForm(form: PolicyShortForm): FormPolicy[] {
  checkShape(form);
  return narrow('session', form);
}

/** What agents of tenants may use where they ask for it: entries that the operator listed. */
export function compileCeiling(allow: readonly string[]): FormPolicy[] {
  checkShape({ allow: [...allow] });
  return entriesOf(allow).map((entry, index) => permit(`tenants:allow[${index}]`, entry, {}));
}

/**
 * The same where the operator listed nothing: what stays with the session and can be done twice, its models, and public hosts. It
 * stands back from each action that a policy of the operator grants, who then has said himself what there is.
 */
export function defaultCeiling(): FormPolicy[] {
  const entry: Entry = { kind: 'tool', pattern: '*' };
  const within = (kind: Kind, attribute: string, text: string, rest: Expr): FormPolicy => {
    const policy = permit(`tenants:default:${kind}`, { ...entry, kind }, {});
    return {
      ...policy,
      reads: readsOf({ resource: [attribute] }),
      text: policy.text.replace(/ };$/, ` && ${text} };`),
      ...policyOf('permit', kind, rest),
    };
  };
  const effects = of('resource', 'effects');
  const isPrivate = of('resource', 'private');
  return [
    within('tool', 'effects', '(resource has effects && resource.effects != "once")', {
      '&&': { left: { has: effects['.'] }, right: { '!=': { left: effects, right: { Value: 'once' } } } },
    }),
    permit('tenants:default:model', { ...entry, kind: 'model' }, {}),
    within('net', 'private', '!(resource has private && resource.private)', {
      '!': { arg: { '&&': { left: { has: isPrivate['.'] }, right: isPrivate } } },
    }),
  ];
}

function narrow(of: 'agent' | 'session', form: PolicyShortForm): FormPolicy[] {
  const allow = entriesOf(form.allow);
  const approve = entriesOf(form.approve);
  const listed = [...allow, ...approve];
  const onceNamed = (['model', 'secret'] as const).filter((kind) => allow.some((entry) => entry.kind === kind));
  const narrowed: Kind[] = form.allow === undefined ? [] : ['tool', 'net', ...onceNamed];
  return [
    ...narrowed.map((kind) => forbidOthers(`${of}:allow:${kind}`, kind, listed)),
    ...entriesOf(form.deny).map((entry, index) => forbid(`${of}:deny[${index}]`, entry)),
    ...approve.map((entry, index) => permit(`${of}:approve[${index}]`, entry, { obligations: approval, advice: true })),
  ];
}

function entriesOf(patterns: readonly string[] | undefined): Entry[] {
  return (patterns ?? []).map((text) => {
    const [, prefix, rest] = /^(?:(tool|model|net|secret):)?(.*)$/s.exec(text) ?? [];
    const kind = prefix === 'model' || prefix === 'net' || prefix === 'secret' ? prefix : 'tool';
    const pattern = rest ?? '';
    // What names no host was stored before that was refused; it matches nothing.
    return { kind, pattern: kind === 'net' ? (hostPattern(pattern) ?? pattern.toLowerCase()) : pattern };
  });
}

function permit(id: string, entry: Entry, options: { readonly obligations?: StatedObligations; readonly advice?: boolean }): FormPolicy {
  const { action, type } = scopes[entry.kind];
  const price = entry.kind === 'model' ? 'context.priceKnown && ' : '';
  const notes = `${options.advice ? '@advice ' : ''}${options.obligations ? '@obligation("require_approval") ' : ''}`;
  return {
    id,
    text: `${notes}permit (principal is Agent, action == Action::"${action}", resource is ${type})\nwhen { ${price}(${anyOf(conditions(entry))}) };`,
    ...policyOf('permit', entry.kind, entry.kind === 'model' ? of('context', 'priceKnown') : undefined),
    scope: { actions: new Set([action]), principalType: 'Agent', resourceType: type },
    reads: readsOf(entry.kind === 'model' ? { context: ['priceKnown'] } : {}),
    obligations: options.obligations ?? noObligations,
    advice: options.advice ?? false,
    mayApply: (resource) => matches(entry, resource),
  };
}

function forbid(id: string, entry: Entry): FormPolicy {
  const { action, type } = scopes[entry.kind];
  return {
    id,
    text: `forbid (principal, action == Action::"${action}", resource is ${type})\nwhen { ${anyOf(conditions(entry))} };`,
    ...policyOf('forbid', entry.kind, undefined),
    scope: { actions: new Set([action]), resourceType: type },
    reads: readsOf({}),
    obligations: noObligations,
    advice: false,
    mayApply: (resource) => matches(entry, resource),
  };
}

/** Forbids what no entry of the kind matches. */
function forbidOthers(id: string, kind: Kind, listed: readonly Entry[]): FormPolicy {
  const { action, type } = scopes[kind];
  const entries = listed.filter((entry) => entry.kind === kind);
  const unless = entries.length === 0 ? '' : `\nunless { ${anyOf(entries.flatMap(conditions))} }`;
  return {
    id,
    text: `forbid (principal, action == Action::"${action}", resource is ${type})${unless};`,
    ...policyOf('forbid', kind, undefined),
    scope: { actions: new Set([action]), resourceType: type },
    reads: readsOf({}),
    obligations: noObligations,
    advice: false,
    mayApply: (resource) => !entries.some((entry) => matches(entry, resource)),
  };
}

function readsOf({ resource = [], context = [] }: { readonly resource?: readonly string[]; readonly context?: readonly string[] }): Reads {
  return { principal: new Set(), resource: new Set(resource), context: new Set(context), arguments: new Set(), everything: false };
}

/** A policy with the scope of its text and what is left of its conditions once the patterns are met. */
function policyOf(effect: 'permit' | 'forbid', kind: Kind, rest: Expr | undefined): Pick<CompiledPolicy, 'asked' | 'bare' | 'test'> {
  const { action, type } = scopes[kind];
  const asked: PolicyJson = {
    effect,
    principal: effect === 'permit' ? { op: 'is', entity_type: 'Agent' } : { op: 'All' },
    action: { op: '==', entity: { type: 'Action', id: action } },
    resource: { op: 'is', entity_type: type },
    conditions: rest === undefined ? [] : [{ kind: 'when', body: rest }],
  };
  return { asked, bare: bareOf(asked), test: testOf(asked.conditions) };
}

/** `resource.effects`, for instance. */
function of(variable: 'resource' | 'context', attr: string): { '.': { left: { Var: typeof variable }; attr: string } } {
  return { '.': { left: { Var: variable }, attr } };
}

/** The pattern's characters are those of the protocol's schema: none of them needs an escape in Cedar. */
function conditions({ kind, pattern }: Entry): string[] {
  return scopes[kind].attributes.map((attribute) => `resource.${attribute} like "${pattern}"`);
}

/** Cedar goes into each alternative from the one before it: hundreds in a row are deeper than its stack. */
const mostInRow = 8;

/** Alternatives, however many, a few levels deep. */
function anyOf(alternatives: readonly string[]): string {
  if (alternatives.length <= mostInRow) return alternatives.join(' || ');
  const half = alternatives.length >> 1;
  return `(${anyOf(alternatives.slice(0, half))}) || (${anyOf(alternatives.slice(half))})`;
}

/** As Cedar's `like`: the protocol's schema lets no `?` into a pattern. */
function matches({ kind, pattern }: Entry, resource: ResourceFacts): boolean {
  return scopes[kind].attributes.some((attribute) => {
    const value = resource.derived[attribute];
    return typeof value === 'string' && matchesWildcard(pattern, value);
  });
}
