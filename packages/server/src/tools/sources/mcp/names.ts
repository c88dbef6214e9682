import { sha256 } from '#core';

/** What providers take as the name of a tool. */
const maxNameChars = 64;
const hashChars = 8;

/**
 * The name under which a tool of a server is offered: `<server>_<tool>`. Where that is too long, or has other signs than providers take,
 * it ends with a hash of the server's own name of the tool, so that two tools of a server never come to have one name.
 */
export function offeredName(server: string, tool: string): string {
  const whole = `${server}_${tool}`;
  const plain = whole.replaceAll(/[^A-Za-z0-9_-]/g, '_');
  if (plain === whole && whole.length <= maxNameChars) return whole;
  return `${plain.slice(0, maxNameChars - hashChars - 1)}_${sha256(tool).slice(0, hashChars)}`;
}
