import type { NexusConfig } from '#apps/config';
import type { DefinitionFolder } from '#control';
import { NexusError } from '#core';
import { createDefinitionFolder } from './definition-folder.ts';

/**
 * The operator's policies: every `*.cedar` of the policies folder, named after its file. Only the folder's default place may be
 * missing, and nothing is read while one of the files cannot be.
 */
export function policyFolder({ policiesDir, dataDir }: Pick<NexusConfig, 'policiesDir' | 'dataDir'>): DefinitionFolder {
  const folder = createDefinitionFolder(policiesDir, {
    setting: 'policiesDir (NEXUS_POLICIES_DIR)',
    mayBeMissing: policiesDir === `${dataDir}/policies`,
    extensions: ['.cedar'],
    maxBytes: 4_000_000,
    complete: true,
  });
  return {
    ...folder,
    async read() {
      const found = await folder.read();
      // A file that was cut short would take its forbids with it.
      const empty = found.files.find(({ text }) => text.replaceAll(/\/\/.*$/gm, '').trim() === '');
      if (empty === undefined) return found;
      throw new NexusError('config_invalid', `${empty.name} in ${policiesDir} holds no policy; remove the file if none is meant to hold`);
    },
  };
}
