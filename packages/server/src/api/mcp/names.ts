import { sha256 } from '#core';

/** What every client and every provider of models takes as the name of a tool. */
const fits = /^[A-Za-z0-9_-]{1,64}$/;
const hashChars = 8;

/** The name as it is where it fits, else one that does and that no other name gives: what is left of it, with a part of its hash. */
export function exposedName(name: string): string {
  return fits.test(name) ? name : hashedName(name);
}

function hashedName(name: string): string {
  return `${name.replace(/[^A-Za-z0-9_-]/g, '_').slice(0, 64 - hashChars - 1)}_${sha256(name).slice(0, hashChars)}`;
}

/** The name of an agent as a tool. A tool that has this name already keeps it. */
export function agentToolName(agent: string, tools: ReadonlySet<string>): string {
  const name = exposedName(`agent_${agent}`);
  return tools.has(name) ? hashedName(`agent_${agent}`) : name;
}
