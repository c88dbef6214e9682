import type { PluginChange } from '@nexus-agent/protocol';
import { canonicalJson } from '#core';
import type { InstalledPlugin } from '#tools';

type Shown = Pick<InstalledPlugin, 'manifest' | 'signedBy'>;
type ToolOf = InstalledPlugin['manifest']['tools'][number];

/** What repeating a call may do, from the least. */
const byWeight: readonly string[] = ['none', 'idempotent', 'once'];

/** How one plugin differs from another of its name, what it asks for first: what a person has to read before it takes the other's place. */
export function changesOf(before: Shown, after: Shown): PluginChange[] {
  const changes: PluginChange[] = [];
  const whole = (what: PluginChange['what'], was: string | null, is: string | null, asksMore: boolean) => {
    if (was !== is) changes.push({ tool: null, what, before: was, after: is, asksMore });
  };
  whole('signature', before.signedBy, after.signedBy, true);
  whole('tier', before.manifest.tier, after.manifest.tier, after.manifest.tier === 'T2');
  const [server, next] = [before.manifest.server, after.manifest.server];
  const command = (of: typeof server) => (of === undefined ? null : canonicalJson({ command: of.command, args: of.args, env: of.env }));
  whole('server', command(server), command(next), true);
  const [limits, more] = [server?.limits ?? {}, next?.limits ?? {}];
  whole('limits', canonicalJson(limits), canonicalJson(more), asksMoreOf(limits, more));
  const known = new Map(before.manifest.tools.map((tool) => [tool.name, tool]));
  for (const tool of after.manifest.tools) {
    const was = known.get(tool.name);
    known.delete(tool.name);
    if (was === undefined) changes.push({ tool: tool.name, what: 'added', before: null, after: permissionsOf(tool), asksMore: true });
    else changes.push(...changesOfTool(was, tool));
  }
  for (const tool of known.values())
    changes.push({ tool: tool.name, what: 'removed', before: permissionsOf(tool), after: null, asksMore: false });
  return changes.sort((one, other) => Number(other.asksMore) - Number(one.asksMore));
}

function changesOfTool(was: ToolOf, is: ToolOf): PluginChange[] {
  const changed = (what: PluginChange['what'], before: string, after: string, asksMore: boolean): PluginChange[] =>
    before === after ? [] : [{ tool: is.name, what, before, after, asksMore }];
  // Whoever may write a file may read it.
  const had = new Set<string>([...was.permissions, ...(was.permissions.includes('fs.write') ? ['fs.read'] : [])]);
  return [
    ...changed(
      'permissions',
      permissionsOf(was),
      permissionsOf(is),
      is.permissions.some((each) => !had.has(each)),
    ),
    // What may be repeated by itself asks for more than what may not.
    ...changed('effects', was.effects, is.effects, byWeight.indexOf(is.effects) < byWeight.indexOf(was.effects)),
    ...changed('limits', canonicalJson(was.limits), canonicalJson(is.limits), asksMoreOf(was.limits, is.limits)),
    ...changed('arguments', canonicalJson(was.inputSchema), canonicalJson(is.inputSchema), false),
    ...changed('result', canonicalJson(was.outputSchema ?? null), canonicalJson(is.outputSchema ?? null), false),
    ...changed('description', was.description, is.description, false),
  ];
}

function permissionsOf({ permissions }: ToolOf): string {
  return permissions.toSorted().join(' ');
}

/** A limit that is left out is the server's, the most that there is. */
function asksMoreOf(was: Readonly<Record<string, number | undefined>>, is: Readonly<Record<string, number | undefined>>): boolean {
  const most = (value: number | undefined) => value ?? Number.POSITIVE_INFINITY;
  return [...new Set([...Object.keys(was), ...Object.keys(is)])].some((key) => most(is[key]) > most(was[key]));
}
