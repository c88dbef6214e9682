import type { DefinitionFolder } from '#control';
import type { World } from './world.ts';

/** The operator's folder of policies, which all nodes see. */
export interface PolicyFolder extends DefinitionFolder {
  /** Something is forbidden sooner or later. Following what never changes is left out, as it takes a good part of all time. */
  readonly matters: boolean;
  /** Forbids a tool for so long. */
  forbid(tool: string, forMs: number): void;
  /** Nothing is forbidden any more. */
  calmDown(): void;
  /** A node has put policies to use. */
  inUse(version: string, text: string): void;
  /** Whether the policies of this version forbid the tool; they have been put to use somewhere. */
  forbids(version: string, tool: string): boolean;
}

const forbidding = (tool: string) => `forbid (principal, action == Action::"tool.execute", resource == Tool::"${tool}");`;
/** A tool that there is not: a folder without policies changes nothing. */
const standing = forbidding('never');

export function createPolicyFolder(world: World, matters: boolean): PolicyFolder {
  const forbidden = new Map<string, number>();
  const texts = new Map<string, string>();
  const text = () => [standing, ...[...forbidden.keys()].sort().map(forbidding)].join('\n');

  function allow(tool: string, until: number): void {
    if (forbidden.get(tool) !== until) return;
    forbidden.delete(tool);
    world.say('operator', `allows ${tool} again`);
  }

  return {
    matters,
    path: '/policies',
    mark: async () => text(),
    read: async () => ({ files: [{ name: 'operator.cedar', text: text() }], unread: [] }),
    forbid(tool, forMs) {
      const until = world.now + forMs;
      forbidden.set(tool, until);
      world.after(forMs, null, () => allow(tool, until));
    },
    calmDown: () => forbidden.clear(),
    inUse: (version, text) => void texts.set(version, text),
    forbids: (version, tool) => texts.get(version)?.includes(forbidding(tool)) === true,
  };
}
