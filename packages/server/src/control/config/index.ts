/** The slice of the configuration that control owns. */
import { z } from 'zod';
import { durationMs, group, setting } from '#core';

export const controlConfig = {
  definitions: group({
    import: setting(
      z.enum(['auto', 'manual']).default('auto'),
      'Whether a node imports new files of its `policiesDir` and `agentsDir` by itself, or only by `nexus definitions import`.',
      { environment: 'NEXUS_DEFINITIONS_IMPORT' },
    ),
    pollMs: setting(
      durationMs().min(50).max(60_000).default(300),
      'How often a node looks whether its folders have changed, and whether another node has imported a version.',
    ),
  }),
};
