import { dictionary, PolicyAction, type PolicyShortForm } from '@nexus-agent/protocol';
import { type Clock, canonicalJson, sha256 } from '#core';
import {
  type CompiledPolicy,
  type CompiledSources,
  type CompileOptions,
  cedarRuntime,
  compileSources,
  type DecisionRequest,
  defaultPolicies,
  InvalidRequest,
  type PolicySource,
  type ResourceFacts,
  resourceFacts,
  schemaText,
  warmCedar,
} from '#policy/compile';
import {
  checkShortForm,
  compileAgentForm,
  compileCeiling,
  compileNarrowingAgentForm,
  compileSessionForm,
  defaultCeiling,
  type FormPolicy,
} from '#policy/forms';
import { createFormCache, createMemo, createSliceCache, maxMemoKeyChars } from './caches.ts';
import { effectOf } from './effect.ts';
import { allowsNothing } from './never.ts';
import { createRemainders, type Remainders } from './remainder.ts';
import { principalIdOf, projectRequest } from './request.ts';
import { createSlice, type Slice } from './slice.ts';
import type { Decision, PolicyEngine } from './types.ts';
import { warmUpQuestions } from './warm-up.ts';

export interface PolicyEngineOptions {
  /** The operator's policies, besides the defaults. */
  readonly sources?: readonly PolicySource[];
  /** For `context.time`. */
  readonly clock: Clock;
  /** Answers remembered for equal questions; 0 turns it off. An answer is only reused when everything that the policies can read is equal. */
  readonly memoEntries?: number;
  /** Entries that agents of tenants may use where they ask for them; left out: see {@link defaultCeiling}. */
  readonly tenantsAllow?: readonly string[];
  /** False: what agents of the operator allow permits nothing by itself either, and only narrows what his policies permit. */
  readonly agentsPermit?: boolean;
}

const defaultMemoEntries = 8192;
/** Longer keys are hashed, so that none of the caches holds more of a key than this. */
const maxPlainKeyChars = 1024;

/** Everything that depends on the policies: replaced as a whole, so that no decision mixes two versions. */
interface Generation {
  readonly version: string;
  readonly compiled: () => CompiledSources;
  readonly principalIds: () => ReadonlySet<string>;
  /** Actions that some policy of the operator permits to agents. */
  readonly granted: () => ReadonlySet<string>;
  /** Actions that some policy of the operator can say something about. */
  readonly spokenOf: () => ReadonlySet<string>;
  readonly pathForbids: () => ReadonlySet<string>;
  readonly slices: ReturnType<typeof createSliceCache>;
  readonly remainders: Remainders;
  /** Absent when nothing is to be remembered. */
  readonly memo: ReturnType<typeof createMemo> | undefined;
}

/**
 * The policy engine on Cedar. Cedar is loaded by the first decision, or at once when there are sources to validate;
 * throws `invalid_request` when one of them is not valid.
 */
export function createPolicyEngine(options: PolicyEngineOptions): PolicyEngine {
  const { clock } = options;
  const memoEntries = options.memoEntries ?? defaultMemoEntries;
  const forms = createFormCache();
  let generation = createGeneration(options.sources ?? [], memoEntries);
  const { tenantsAllow, agentsPermit = true } = options;
  if (tenantsAllow !== undefined) checkShortForm({ allow: [...tenantsAllow] });
  const ceiling = tenantsAllow === undefined ? defaultCeiling() : compileCeiling(tenantsAllow);

  /** What the operator lets an agent of a tenant use, of the kinds that it asks for. */
  function ceilingFor(current: Generation, { principal, action, agentPolicy: form }: DecisionRequest): readonly FormPolicy[] {
    if (principal.origin !== 'tenant' || (form?.allow === undefined && form?.approve === undefined)) return [];
    if (tenantsAllow === undefined && current.granted().has(action)) return [];
    const asksForModels = form.allow?.some((entry) => entry.startsWith('model:')) === true;
    return action === 'model.invoke' && !asksForModels ? [] : ceiling;
  }

  function formPolicies(kind: keyof typeof compileForm, text: string, form: PolicyShortForm | undefined): readonly FormPolicy[] {
    if (form === undefined) return [];
    const key = shortKey(kind + text);
    const known = forms.get(key);
    if (known !== undefined) return known;
    const compiled = compileForm[kind](form);
    forms.set(key, compiled);
    return compiled;
  }

  const permits = ({ origin }: DecisionRequest['principal']) => agentsPermit && origin !== 'tenant';

  function sliceFor(
    current: Generation,
    request: DecisionRequest,
    resource: ResourceFacts,
    sliceKey: string,
    texts: [string, string],
  ): Slice {
    const known = current.slices.get(sliceKey);
    if (known !== undefined) return known;
    const slice = createSlice(
      current.compiled().policies,
      [
        ...formPolicies(permits(request.principal) ? 'agent' : 'narrowing', texts[0], request.agentPolicy),
        ...ceilingFor(current, request),
        ...formPolicies('session', texts[1], request.sessionPolicy),
      ],
      { ...request.principal, id: principalIdOf(request.principal) },
      request.action,
      resource,
    );
    current.slices.set(sliceKey, slice);
    return slice;
  }

  function questionOf(current: Generation, request: DecisionRequest) {
    const { principal, action } = request;
    const resource = resourceFacts(request.resource, principal.tenant);
    const principalId = principalIdOf(principal);
    const texts: [string, string] = [formText(request.agentPolicy), formText(request.sessionPolicy)];
    const namedId = current.principalIds().has(principalId) ? principalId : '';
    const sliceKey = shortKey(
      JSON.stringify([
        action,
        principal.type,
        principal.origin === 'tenant',
        namedId,
        resource.type,
        resource.id,
        resource.derived.authority,
        ...texts,
      ]),
    );
    const slice = sliceFor(current, request, resource, sliceKey, texts);
    const projected = projectRequest(request, resource, slice.reads, current.compiled().argumentTypes, clock.now);
    return { resource, sliceKey, slice, projected };
  }

  function decideOrThrow(current: Generation, request: DecisionRequest): Decision {
    const { resource, sliceKey, slice, projected } = questionOf(current, request);
    const { call } = projected;
    const approved = request.context.approved;
    const memoKey =
      current.memo === undefined
        ? ''
        : JSON.stringify([sliceKey, call.principal, call.entities, call.context, approved?.role, approved !== undefined]);
    const memo = memoKey.length <= maxMemoKeyChars ? current.memo : undefined;
    const known = memo?.get(memoKey);
    if (known !== undefined) return known;
    const { answer, policies } = current.remainders.ask(slice, projected);
    const decision = freeze({ ...describeRequest(current, request, resource), ...effectOf(answer, policies, approved) });
    memo?.set(memoKey, decision);
    return decision;
  }

  function decide(request: DecisionRequest): Decision {
    const current = generation;
    try {
      return decideOrThrow(current, request);
    } catch (error) {
      const reason = error instanceof InvalidRequest ? 'invalid-request' : 'evaluation-error';
      const message = error instanceof Error ? error.message : String(error);
      return { ...describeRequest(current, request, request.resource), effect: 'deny', reasons: [reason], errors: [message] };
    }
  }

  return {
    get version() {
      return generation.version;
    },
    decide,
    allowsNothing(request) {
      try {
        const { slice, projected } = questionOf(generation, request);
        return allowsNothing(slice, projected.values, () => decide(request).effect === 'deny');
      } catch {
        return false; // what cannot be asked ahead is told by the decision
      }
    },
    speaksOf: (action) => generation.spokenOf().has(action),
    forbidsSomePath: () => generation.pathForbids().size > 0,
    isPathForbid: ({ effect, reasons }) => effect === 'deny' && reasons.some((id) => generation.pathForbids().has(id)),
    prepare(sources, options = {}) {
      const next = createGeneration(sources, memoEntries, options);
      return {
        use() {
          generation = next;
        },
        mentions: () => (sources.length === 0 ? new Map() : next.compiled().mentions),
        toolsNamed: () => (sources.length === 0 ? new Map() : next.compiled().toolsNamed),
      };
    },
    async warm(pause) {
      await warmCedar();
      await pause();
      generation.compiled();
      await pause();
      cedarRuntime().cedar.checkParseContext({ context: {} }); // what it sets up once
      for (const question of warmUpQuestions) {
        await pause();
        decide(question);
      }
    },
    check: checkShortForm,
  };
}

function createGeneration(sources: readonly PolicySource[], memoEntries: number, options: CompileOptions = {}): Generation {
  const all = [defaultPolicies, ...sources];
  const compiled = once(() => compileSources(all, options));
  if (sources.length > 0) compiled();
  return {
    version: sha256(canonicalJson([schemaText(new Map()), all.map(({ name, text }) => [name, text])])).slice(0, 16),
    compiled,
    principalIds: once(
      () => new Set(compiled().policies.flatMap(({ scope }) => (scope.principalId === undefined ? [] : [scope.principalId]))),
    ),
    granted: once(() => new Set(compiled().policies.flatMap(actionsGranted))),
    spokenOf: once(() =>
      sources.length === 0
        ? new Set()
        : new Set(compiled().policies.flatMap(({ id, scope }) => (isDefault(id) ? [] : [...(scope.actions ?? PolicyAction.options)]))),
    ),
    pathForbids: once(() =>
      sources.length === 0 ? new Set() : new Set(compiled().policies.flatMap(({ id, forbidsPath }) => (forbidsPath === true ? [id] : []))),
    ),
    slices: createSliceCache(),
    remainders: createRemainders(),
    memo: memoEntries === 0 ? undefined : createMemo(memoEntries),
  };
}

function describeRequest(
  current: Generation,
  request: DecisionRequest,
  resource: { readonly type: string; readonly id: string },
): Pick<Decision, 'action' | 'principal' | 'resource' | 'policyVersion'> {
  return {
    action: request.action,
    principal: `${request.principal.type}::${JSON.stringify(principalIdOf(request.principal))}`,
    resource: `${resource.type}::${JSON.stringify(resource.id)}`,
    policyVersion: current.version,
  };
}

function isDefault(id: string): boolean {
  return id.startsWith(`${defaultPolicies.name}:`);
}

const compileForm = dictionary({ agent: compileAgentForm, narrowing: compileNarrowingAgentForm, session: compileSessionForm });

function actionsGranted({ grants, scope }: CompiledPolicy): readonly string[] {
  if (grants !== true || (scope.principalType !== undefined && scope.principalType !== 'Agent')) return [];
  return scope.actions === undefined ? PolicyAction.options : [...scope.actions];
}

function shortKey(text: string): string {
  return text.length <= maxPlainKeyChars ? text : sha256(text);
}

function formText(form: PolicyShortForm | undefined): string {
  return form === undefined ? '' : JSON.stringify(form);
}

/** A remembered decision is handed out again: nobody may change it. */
function freeze(decision: Decision): Decision {
  for (const list of [decision.reasons, decision.obligations, decision.errors]) if (list !== undefined) Object.freeze(list);
  decision.obligations?.forEach(Object.freeze);
  return Object.freeze(decision);
}

function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
