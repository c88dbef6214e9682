import { filePath } from './files.ts';
import { authorityOf, hostAndPort } from './hosts.ts';
import { type AgentOrigin, type DecisionRequest, InvalidRequest } from './types.ts';

/** The resource as policies see it. */
export interface ResourceFacts {
  readonly type: DecisionRequest['resource']['type'];
  readonly id: string;
  /** Attributes that follow from the id. */
  readonly derived: Readonly<Record<string, string>>;
  /** Of a host, where the id or an attribute has it. */
  readonly port?: number;
}

/**
 * An agent as policies know it. One that a tenant defined never goes by the bare name, so that no rule of the operator on an agent
 * of his holds for another tenant's of that name.
 */
export function agentId(name: string, tenant: string, origin: AgentOrigin | undefined): string {
  return origin === 'tenant' ? `${tenant}/${name}` : name;
}

/** Throws {@link InvalidRequest} for what is no host: nothing could be said of it. */
export function resourceFacts({ type, id, attributes }: DecisionRequest['resource'], tenant: string): ResourceFacts {
  switch (type) {
    case 'Model': {
      const slash = id.indexOf('/');
      return { type, id, derived: { ref: id, provider: slash < 0 ? '' : id.slice(0, slash), model: id.slice(slash + 1) } };
    }
    case 'Host': {
      const host = hostAndPort(id);
      if (host === null) throw new InvalidRequest(`${JSON.stringify(id.slice(0, 200))} is no host`);
      const port = host.port ?? (typeof attributes?.port === 'number' ? attributes.port : undefined);
      const authority = authorityOf(port === undefined ? { name: host.name } : { name: host.name, port });
      return { type, id: host.name, derived: { name: host.name, authority }, ...(port === undefined ? {} : { port }) };
    }
    case 'Agent': {
      const origin: AgentOrigin = attributes?.origin === 'tenant' ? 'tenant' : 'operator';
      const name = agentId(id, tenant, origin);
      return { type, id: name, derived: { name, tenant, origin } };
    }
    case 'File': {
      const path = filePath(id);
      const name = path.slice(path.lastIndexOf('/') + 1);
      const dot = name.lastIndexOf('.');
      return { type, id: path, derived: { path, name, extension: dot < 0 ? '' : name.slice(dot + 1) } };
    }
    case 'Approval':
    case 'Session':
      return { type, id, derived: { id } };
    default:
      return { type, id, derived: { name: id } };
  }
}
