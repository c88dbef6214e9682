import { closest } from './closest.ts';
import { NexusError } from './errors.ts';
import { cutText } from './text.ts';

/** More are not told: who has thousands finds the right one by the nearest name, or in the list of tools. */
const maxTold = 100;
const maxNameChars = 100;

/**
 * What whoever called a tool that there is not needs to go on: which it was, the nearest name, and what there is.
 *
 * @param there says what the names are
 */
export function unknownTool(name: string, names: readonly string[], there = 'the tools are'): NexusError {
  const near = closest(name.slice(0, maxNameChars), names);
  const more = names.length > maxTold ? ` and ${names.length - maxTold} more` : '';
  const which = near === null ? '' : `; did you mean "${near}"?`;
  const message = `there is no tool ${JSON.stringify(cutText(name, maxNameChars))}${which}; ${there}: ${names.slice(0, maxTold).join(', ') || 'none'}${more}`;
  return new NexusError('tool_not_found', message);
}
