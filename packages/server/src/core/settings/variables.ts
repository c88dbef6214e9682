import { closest } from '../closest.ts';
import type { Setting } from './setting.ts';

/** A variable that looks like a setting and is none. */
export interface UnknownVariable {
  readonly name: string;
  /** The known one that it may stand for. */
  readonly nearest: string | null;
}

/** What Kubernetes sets by itself in every container for a service whose name begins like ours. */
const ofKubernetes = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/** Variables with the prefix of ours that set nothing, by name. `others`: names that are read elsewhere. */
export function unknownVariables(
  settings: readonly Setting[],
  env: Readonly<Record<string, string | undefined>>,
  { prefix, others }: { readonly prefix: string; readonly others: readonly string[] },
): UnknownVariable[] {
  const known = [...settings.flatMap(({ environment }) => environment ?? []), ...others];
  return Object.keys(env)
    .filter((name) => name.toUpperCase().startsWith(prefix) && !known.includes(name) && !ofKubernetes.test(name))
    .sort()
    .map((name) => ({ name, nearest: closest(name, known) }));
}
