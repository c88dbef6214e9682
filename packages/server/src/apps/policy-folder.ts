import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';
import type { PolicySource } from '#policy';
import { readDefinitionFolder, type UnreadEntry } from './definition-folder.ts';

export interface PolicyFolder {
  readonly sources: readonly PolicySource[];
  readonly unread: readonly UnreadEntry[];
}

const maxPolicyFileBytes = 4_000_000;

/**
 * The operator's policies: every `*.cedar` of the policies folder, named after its file, and what else lies there. Only the
 * folder's default place may be missing, and a policy that cannot be read stops the start: what is missing must not mean fewer
 * rules. Throws `config_invalid`.
 */
export async function loadPolicyFolder({ policiesDir, dataDir }: Pick<NexusConfig, 'policiesDir' | 'dataDir'>): Promise<PolicyFolder> {
  const { files, unread } = await readDefinitionFolder(policiesDir, {
    setting: 'policiesDir (NEXUS_POLICIES_DIR)',
    mayBeMissing: policiesDir === `${dataDir}/policies`,
    extensions: ['.cedar'],
    maxBytes: maxPolicyFileBytes,
  });
  const lost = unread.find(({ name }) => /\.cedar$/i.test(name));
  if (lost !== undefined) {
    throw new NexusError('config_invalid', `the policy ${lost.name} in ${policiesDir} is not read: ${lost.why}; mend or remove it`);
  }
  return { sources: files.map(({ name, text }) => ({ name, text })), unread };
}
