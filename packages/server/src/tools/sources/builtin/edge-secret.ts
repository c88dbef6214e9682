import { NexusError } from '#core';
import type { ToolContext } from '#tools/contract';
import { type EdgeSecret, type EdgeSecrets, hostnameOf, isThisMachine, portOf } from '#tools/net';

/**
 * The secret that a call named for an address, once the operator's grant and policy both let it go there. Throws what refuses it, before
 * anything is sent.
 */
export async function edgeSecretFor(
  secrets: EdgeSecrets,
  name: string,
  url: URL,
  context: Pick<ToolContext, 'tenantId' | 'authorize'>,
): Promise<EdgeSecret> {
  const [hostname, port] = [hostnameOf(url), portOf(url)];
  if (url.protocol !== 'https:' && !isThisMachine(hostname))
    throw new NexusError('tool_input_invalid', `the secret ${name} is sent over https only, and ${url.origin} is not; nothing was sent`);
  const secret = secrets.find(context.tenantId, name, { hostname, port });
  if (secret === null)
    throw new NexusError(
      'tool_failed',
      `there is no secret ${name} that calls may send to ${hostname}:${port}; whoever runs the server grants it in secretHeaders; nothing was sent`,
      { details: { reason: 'secret' } },
    );
  const verdict = await context.authorize({ action: 'secret.use', resource: name });
  if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });
  return secret;
}

/** As a tool takes it. */
export const secretProperty = {
  type: 'string',
  pattern: '^[A-Za-z][A-Za-z0-9_]{0,99}$',
  description: 'Name of a secret of the operator that the server is sent in a header; its value is never shown',
} as const;
