import type { NexusConfig } from '#apps/config';
import type { DefinitionFolder } from '#control';
import { createDefinitionFolder } from './definition-folder.ts';

/**
 * The operator's policies: every `*.cedar` of the policies folder, named after its file. Only the folder's default place may be
 * missing, and nothing is read while one of the files cannot be.
 */
export function policyFolder({ policiesDir, dataDir }: Pick<NexusConfig, 'policiesDir' | 'dataDir'>): DefinitionFolder {
  return createDefinitionFolder(policiesDir, {
    setting: 'policiesDir (NEXUS_POLICIES_DIR)',
    mayBeMissing: policiesDir === `${dataDir}/policies`,
    extensions: ['.cedar'],
    maxBytes: 4_000_000,
    complete: true,
  });
}
