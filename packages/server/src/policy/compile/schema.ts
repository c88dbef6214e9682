import { AdminAction, dictionary, type PolicyAction } from '@nexus-agent/protocol';
import type { DecisionRequest } from './types.ts';

/** How a value of a request is declared to Cedar. `Presence` is an argument that policies test only with `has`. */
export type ValueKind = 'String' | 'Long' | 'Boolean' | 'Strings' | 'Decimal' | 'Presence';

const cedarTypes: Record<ValueKind, string> = dictionary({
  String: 'String',
  Long: 'Long',
  Boolean: 'Bool',
  Strings: 'Set<String>',
  Decimal: 'decimal',
  Presence: 'Bool',
});

export type ResourceType = DecisionRequest['resource']['type'];

/** Attributes that a request may carry for its resource, besides those that are derived from its id. All are optional. */
export const resourceAttributes: Record<ResourceType, Readonly<Record<string, ValueKind>>> = dictionary({
  Agent: { declared: 'Boolean', version: 'String' },
  Approval: { kind: 'String', role: 'String', tool: 'String', startedByCaller: 'Boolean' },
  File: {},
  Host: { scheme: 'String', port: 'Long', private: 'Boolean' },
  Model: { declared: 'Boolean', simulator: 'Boolean', contextTokens: 'Long', ignoresLimits: 'Boolean' },
  Secret: {},
  Session: { agent: 'String', user: 'String', project: 'String' },
  System: {},
  Tool: { effects: 'String', permissions: 'Strings' },
});

/** Optional facts of the context that are passed on as they are. */
export const contextFacts = {
  estimatedCostMicroUsd: 'Long',
  budgetLeftMicroUsd: 'Long',
  step: 'Long',
  onBehalfOf: 'String',
  sessionId: 'String',
  tool: 'String',
  answer: 'String',
} as const satisfies Record<string, ValueKind>;

/** Attributes that every entity of a type has; they are derived from its id, or (tenant, roles) belong to the principal. */
const derivedAttributes: Record<ResourceType | 'User', string> = {
  Agent: 'name: String, tenant: String, origin: String',
  User: 'name: String, tenant: String, roles: Set<String>',
  Approval: 'id: String',
  File: 'path: String, name: String, extension: String',
  Host: 'name: String, authority: String',
  Model: 'ref: String, provider: String, model: String',
  Secret: 'name: String',
  Session: 'id: String',
  System: 'name: String',
  Tool: 'name: String',
};

/** Actions that are named together, by `action in Action::"admin"`. */
export const actionGroups: Readonly<Record<string, readonly PolicyAction[]>> = dictionary({ admin: AdminAction.options });

const administers = Object.fromEntries(
  AdminAction.options.map((action) => [action, { principals: ['User'], resource: 'System', group: 'admin' }]),
) as unknown as Readonly<Record<AdminAction, Applies>>; // one for each of its options

interface Applies {
  readonly principals: readonly DecisionRequest['principal']['type'][];
  readonly resource: ResourceType;
  /** The group that the action is in. */
  readonly group?: string;
}

const anybody = ['User', 'Agent'] as const;

/** Who does an action, and to what. A question of any other kind is not asked. */
export const appliesTo: Readonly<Record<PolicyAction, Applies>> = dictionary({
  'run.start': { principals: anybody, resource: 'Agent' },
  'model.invoke': { principals: anybody, resource: 'Model' },
  'tool.execute': { principals: anybody, resource: 'Tool' },
  'net.egress': { principals: anybody, resource: 'Host' },
  'secret.use': { principals: anybody, resource: 'Secret' },
  'file.read': { principals: ['Agent'], resource: 'File' },
  'file.write': { principals: ['Agent'], resource: 'File' },
  'approval.grant': { principals: ['User'], resource: 'Approval' },
  'session.delete': { principals: ['User'], resource: 'Session' },
  ...administers,
});

const actions = [
  'action "admin";',
  ...Object.entries(appliesTo).map(
    ([action, { principals, resource, group }]) =>
      `action ${JSON.stringify(action)}${group === undefined ? '' : ` in [${JSON.stringify(group)}]`} appliesTo { principal: [${principals.join(', ')}], resource: [${resource}], context: Context };`,
  ),
].join('\n');

/** Types of `context.arguments.<name>`, found by how the policies use them. */
export type ArgumentTypes = ReadonlyMap<string, ValueKind>;

function optional(attributes: Iterable<readonly [string, ValueKind]>): string {
  return [...attributes].map(([name, kind]) => `${JSON.stringify(name)}?: ${cedarTypes[kind]}`).join(', ');
}

/** The Cedar schema. Only the arguments that a policy reads are declared, and only those are passed. */
export function schemaText(argumentTypes: ArgumentTypes): string {
  const entities = Object.entries(derivedAttributes).map(([type, derived]) => {
    const extra = type === 'User' ? {} : resourceAttributes[type as ResourceType]; // the keys of the record are exactly these
    return `entity ${type} = { ${[derived, optional(Object.entries(extra))].filter((part) => part !== '').join(', ')} };`;
  });
  const sortedArguments = [...argumentTypes].sort(([a], [b]) => (a < b ? -1 : 1));
  return `${entities.join('\n')}
type Context = {
  "arguments": { ${optional(sortedArguments)} },
  argumentsJson: String,
  time: datetime,
  priceKnown: Bool,
  approved?: { by: String, role?: String },
  ${optional(Object.entries(contextFacts))}
};
${actions}`;
}
