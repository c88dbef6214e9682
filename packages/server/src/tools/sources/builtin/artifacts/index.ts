/** The tools by which models read what is kept of results that were too long for them. */
import type { Tool } from '#tools/contract';
import { type ArtifactToolsOptions, createArtifactListTool, createArtifactReadTool } from './artifact-tools.ts';

export type ArtifactsOfSessions = Pick<ArtifactToolsOptions, 'store' | 'blobs' | 'maxOutputChars'>;

export function createArtifactTools(options: ArtifactToolsOptions): readonly Tool[] {
  return [createArtifactListTool(options), createArtifactReadTool(options)];
}
