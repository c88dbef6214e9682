import type { PolicyShortForm } from '@nexus-agent/protocol';
import { type Clock, canonicalJson, sha256 } from '#core';
import {
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
} from '#policy/compile';
import { checkShortForm, compileAgentForm, compileSessionForm, type FormPolicy } from '#policy/forms';
import { createFormCache, createMemo, createSliceCache, maxMemoKeyChars } from './caches.ts';
import { effectOf } from './effect.ts';
import { projectRequest } from './request.ts';
import { createSlice, type Slice } from './slice.ts';
import type { Decision, PolicyEngine } from './types.ts';

export interface PolicyEngineOptions {
  /** The operator's policies, besides the defaults. */
  readonly sources?: readonly PolicySource[];
  /** For `context.time`. */
  readonly clock: Clock;
  /** Answers remembered for equal questions; 0 turns it off. An answer is only reused when everything that the policies can read is equal. */
  readonly memoEntries?: number;
}

const defaultMemoEntries = 8192;
/** Longer keys are hashed, so that none of the caches holds more of a key than this. */
const maxPlainKeyChars = 1024;

/** Everything that depends on the policies: replaced as a whole, so that no decision mixes two versions. */
interface Generation {
  readonly version: string;
  readonly compiled: () => CompiledSources;
  readonly schemaKey: () => string;
  readonly principalIds: () => ReadonlySet<string>;
  readonly slices: ReturnType<typeof createSliceCache>;
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

  function formPolicies(kind: 'agent' | 'session', text: string, form: PolicyShortForm | undefined): readonly FormPolicy[] {
    if (form === undefined) return [];
    const key = shortKey(kind + text);
    const known = forms.get(key);
    if (known !== undefined) return known;
    const compiled = kind === 'agent' ? compileAgentForm(form) : compileSessionForm(form);
    forms.set(key, compiled);
    return compiled;
  }

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
      [...formPolicies('agent', texts[0], request.agentPolicy), ...formPolicies('session', texts[1], request.sessionPolicy)],
      request.principal,
      request.action,
      resource,
    );
    current.slices.set(sliceKey, slice);
    return slice;
  }

  function decideOrThrow(current: Generation, request: DecisionRequest): Decision {
    const { principal, action } = request;
    const resource = resourceFacts(request.resource);
    const texts: [string, string] = [formText(request.agentPolicy), formText(request.sessionPolicy)];
    const namedId = current.principalIds().has(principal.id) ? principal.id : '';
    const sliceKey = shortKey(
      JSON.stringify([action, principal.type, namedId, resource.type, resource.id, resource.derived.authority, ...texts]),
    );
    const slice = sliceFor(current, request, resource, sliceKey, texts);
    const call = projectRequest(request, resource, slice.reads, current.compiled().argumentTypes, clock.now);
    const approved = request.context.approved;
    const memoKey =
      current.memo === undefined
        ? ''
        : JSON.stringify([sliceKey, call.principal, call.entities, call.context, approved?.role, approved !== undefined]);
    const memo = memoKey.length <= maxMemoKeyChars ? current.memo : undefined;
    const known = memo?.get(memoKey);
    if (known !== undefined) return known;
    const runtime = cedarRuntime();
    const answer = runtime.cedar.statefulIsAuthorized({
      ...call,
      validateRequest: true,
      preparsedSchemaName: runtime.preparedSchema(current.schemaKey(), current.compiled().schema),
      preparsedPolicySetId: runtime.preparedSet(slice.key, () => textsOf(slice)),
    });
    const decision = freeze({ ...describeRequest(current, request, resource), ...effectOf(answer, slice, approved) });
    memo?.set(memoKey, decision);
    return decision;
  }

  return {
    get version() {
      return generation.version;
    },
    decide(request) {
      const current = generation;
      try {
        return decideOrThrow(current, request);
      } catch (error) {
        const reason = error instanceof InvalidRequest ? 'invalid-request' : 'evaluation-error';
        const message = error instanceof Error ? error.message : String(error);
        return { ...describeRequest(current, request, request.resource), effect: 'deny', reasons: [reason], errors: [message] };
      }
    },
    prepare(sources, options = {}) {
      const next = createGeneration(sources, memoEntries, options);
      return {
        use() {
          generation = next;
        },
        toolsNamed: () => (sources.length === 0 ? new Map() : next.compiled().toolsNamed),
      };
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
    schemaKey: once(() => sha256(compiled().schema)),
    principalIds: once(
      () => new Set(compiled().policies.flatMap(({ scope }) => (scope.principalId === undefined ? [] : [scope.principalId]))),
    ),
    slices: createSliceCache(),
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
    principal: `${request.principal.type}::${JSON.stringify(request.principal.id)}`,
    resource: `${resource.type}::${JSON.stringify(resource.id)}`,
    policyVersion: current.version,
  };
}

function textsOf(slice: Slice): Record<string, string> {
  return Object.fromEntries([...slice.policies].map(([id, { text }]) => [id, text]));
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
