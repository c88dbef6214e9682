import type { NexusConfig } from '#apps/config';
import { createSecretValues, matchesWildcard, NexusError } from '#core';
import { operatorTenant } from '#policy';
import { type EdgeSecrets, hostInUrl } from '#tools';
import type { ToolSecrets } from '#tools/sources';

/**
 * The secrets of the configuration. They are the operator's: definitions of the operator's tenant may name any, those of other tenants
 * only what was granted to them, and send it only to the hosts of the grant, for whoever writes a definition says where it leads.
 */
export function createToolSecrets({ secrets, secretGrants }: Pick<NexusConfig, 'secrets' | 'secretGrants'>): ToolSecrets {
  const values = new Map(Object.entries(secrets));
  for (const { hosts } of secretGrants) requireBrackets('secretGrants', hosts);
  return {
    find(tenantId, name, { hostname, port }) {
      const value = values.get(name) ?? null;
      if (tenantId === operatorTenant) return value;
      const isGranted = secretGrants.some(
        (grant) =>
          grant.tenant === tenantId &&
          grant.secret === name &&
          grant.hosts.some((host) =>
            [hostInUrl(hostname), `${hostInUrl(hostname)}:${port}`].some((each) => matchesWildcard(host.toLowerCase(), each.toLowerCase())),
          ),
      );
      return isGranted ? value : null;
    },
  };
}

/**
 * What calls may name. Here a model says where it leads, so that each secret needs a grant, of the operator's tenant too. Throws for one that could not be
 * sent in a header, or not be found again in an answer.
 */
export function createEdgeSecrets({ secrets, secretHeaders }: Pick<NexusConfig, 'secrets' | 'secretHeaders'>): EdgeSecrets {
  const grants = secretHeaders.map(({ secret: name, hosts, header, form, tenants }) => {
    const value = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
    if (value === undefined) throw wrong(`secretHeaders names ${name}, which secrets does not have`);
    if (!/^[\x20-\x7e]+$/.test(value)) throw wrong(`the secret ${name} has characters that no header may have`);
    requireBrackets('secretHeaders', hosts);
    if (ofConnections.test(header)) throw wrong(`secretHeaders: no secret can be sent in the header ${header}`);
    const known = createSecretValues([value]);
    if (known.inText(value) === value)
      throw wrong(
        `the secret ${name} is too short or too plain to be found in answers; secretHeaders takes 16 characters, or 8 that are no word`,
      );
    const secret = {
      name,
      header: header.toLowerCase(),
      value: form.replace('{}', () => value),
      clean: known.inText,
      cleanStream: known.stream,
    };
    return { hosts: hosts.map((host) => host.toLowerCase()), tenants, secret };
  });
  return {
    find(tenantId, name, { hostname, port }) {
      const host = hostInUrl(hostname);
      const at = [`${host}:${port}`, ...(port === 443 ? [host] : [])];
      const found = grants.find(
        ({ hosts, tenants, secret }) =>
          secret.name === name && tenants.includes(tenantId) && hosts.some((pattern) => at.some((each) => matchesWildcard(pattern, each))),
      );
      return found?.secret ?? null;
    },
  };
}

const ofConnections =
  /^(host|connection|content-.*|transfer-encoding|upgrade|te|trailer|expect|keep-alive|accept-encoding|proxy-.*|x-nexus-.*|range)$/i;

/** Without them `2001:db8::5:8443` would be an address of its own as well as a port of another. */
function requireBrackets(setting: string, hosts: readonly string[]): void {
  const bare = hosts.find((host) => /^[^[]*:.*:/.test(host));
  if (bare !== undefined) throw wrong(`${setting}: write the address in ${bare} in brackets, such as [2001:db8::5]:8443`);
}

function wrong(message: string): NexusError {
  return new NexusError('config_invalid', message);
}
