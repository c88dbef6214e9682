import { NexusError } from '../errors.ts';

export type Tree = Record<string, unknown>;

/** A configuration file as it was read: what it says, before the environment is filled in. */
export interface ConfigFile {
  readonly path: string;
  readonly tree: Readonly<Tree>;
  /** Nobody named it, it was there: what it says may be a stranger's, and takes nothing from the environment. */
  readonly found?: true;
}

/** Reads the text of a YAML file; an empty one says nothing. Throws `config_invalid`, naming the path, for what is no mapping. */
export async function parseConfigFile(path: string, text: string): Promise<ConfigFile> {
  // Loaded only where there is a file: most processes have none.
  const { parseDocument } = await import('yaml');
  const document = parseDocument(text, { prettyErrors: true });
  const invalid = (fault: Error) =>
    new NexusError('config_invalid', `${path} is not valid YAML: ${fault.message.split('\n')[0]?.replace(/:$/, '') ?? ''}`, {
      cause: fault,
    });
  const [fault] = document.errors;
  if (fault !== undefined) throw invalid(fault);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 50 });
  } catch (error) {
    // Aliases are followed only here: one of nothing, or too many of one another.
    throw error instanceof ReferenceError ? invalid(error) : error;
  }
  if (value === null || value === undefined) return { path, tree: {} };
  if (!isTree(value)) throw new NexusError('config_invalid', `${path} must hold a mapping of keys to values`);
  return { path, tree: value };
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
