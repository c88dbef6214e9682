import { z } from 'zod';

/** What operators define in folders of files; each kind has versions of its own. */
export const DefinitionKind = z.enum(['policies', 'agents']);
export type DefinitionKind = z.infer<typeof DefinitionKind>;

/**
 * What a node's folder holds, against what is active: the `active` version, an `earlier` one, files that were `never-imported`,
 * nothing (`none`), or files that cannot be used (`broken`).
 */
export const DefinitionFolderState = z.enum(['active', 'earlier', 'never-imported', 'none', 'broken']);
export type DefinitionFolderState = z.infer<typeof DefinitionFolderState>;

const DefinitionVersion = z.object({
  version: z.int(),
  /** Hash of the files: equal files are recognised. */
  fingerprint: z.string(),
  importedAt: z.string(),
  /** The node and folder that it came from. */
  origin: z.string(),
});

export const DefinitionSet = z
  .object({
    kind: DefinitionKind,
    /** What all nodes decide by, or null when nothing was imported yet. */
    active: DefinitionVersion.nullable(),
    /** What this node decides by. It follows the active version within a second, unless `fault` says why not. */
    inUse: z.int().nullable(),
    /** Of policies: the version that decisions on this node name. */
    policyVersion: z.string().optional(),
    fault: z.string().optional(),
    folder: z.object({
      path: z.string(),
      state: DefinitionFolderState,
      /** The version whose files it holds. */
      version: z.int().optional(),
      fault: z.string().optional(),
      /** What lies there and is not read. */
      unread: z.array(z.object({ name: z.string(), why: z.string() })),
    }),
  })
  .meta({ id: 'DefinitionSet' });
export type DefinitionSet = z.infer<typeof DefinitionSet>;

const NodeDefinitions = z.object({ inUse: z.int().nullable(), folder: DefinitionFolderState });

/** A process on the same database, as it said of itself in the last seconds. */
export const NodeStatus = z
  .object({
    name: z.string(),
    self: z.boolean(),
    seenAt: z.string(),
    policies: NodeDefinitions,
    agents: NodeDefinitions,
    /** Fingerprint of the secret that it hashes new API keys under. */
    keySecret: z.string(),
  })
  .meta({ id: 'NodeStatus' });
export type NodeStatus = z.infer<typeof NodeStatus>;

export const DefinitionOverview = z
  .object({ policies: DefinitionSet, agents: DefinitionSet, nodes: z.array(NodeStatus) })
  .meta({ id: 'DefinitionOverview' });
export type DefinitionOverview = z.infer<typeof DefinitionOverview>;

export const DefinitionImportRequest = z
  .strictObject({
    /** Also a folder that holds nothing: afterwards there are no definitions of this kind. */
    allowEmpty: z.boolean().default(false),
  })
  .meta({ id: 'DefinitionImportRequest' });
export type DefinitionImportRequest = z.infer<typeof DefinitionImportRequest>;
