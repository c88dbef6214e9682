import type { DecisionRequest } from './types.ts';

/** The resource as policies see it. */
export interface ResourceFacts {
  readonly type: DecisionRequest['resource']['type'];
  readonly id: string;
  /** Attributes that follow from the id. */
  readonly derived: Readonly<Record<string, string>>;
}

/** Host names are compared without case and without the final dot of a fully qualified name. */
export function resourceFacts({ type, id, attributes }: DecisionRequest['resource']): ResourceFacts {
  switch (type) {
    case 'Model': {
      const slash = id.indexOf('/');
      return { type, id, derived: { ref: id, provider: slash < 0 ? '' : id.slice(0, slash), model: id.slice(slash + 1) } };
    }
    case 'Host': {
      const lower = id.toLowerCase();
      const [, host = lower, portText] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(lower) ?? [];
      const name = host.replace(/^\[|\]$/g, '').replace(/\.$/, '');
      const port = portText ?? (typeof attributes?.port === 'number' ? String(attributes.port) : undefined);
      return { type, id: lower, derived: { name, authority: port === undefined ? name : `${name}:${port}` } };
    }
    case 'Approval':
      return { type, id, derived: { id } };
    default:
      return { type, id, derived: { name: id } };
  }
}
