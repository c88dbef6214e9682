import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CliContext } from '../context.ts';

/** What a command does, given its own options and its arguments. Gives the exit code; none means success. */
export type Action<Options> = (context: CliContext, options: Options, ...args: string[]) => Promise<number | undefined>;

/**
 * What a command file registers its commands with. All of them are loaded whatever is asked, so that help shows them:
 * what is large (the SDK, schemas, the server) a command imports when it runs.
 */
export interface Registrar {
  readonly program: Command;
  /** Makes of an action what commander calls. */
  action<Options>(run: Action<Options>): (...parsed: unknown[]) => Promise<void>;
}

export function withPages(command: Command): Command {
  return command.option('--limit <count>', 'how many', wholeNumber).option('--cursor <cursor>', 'from the page before');
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

export const tenantOption = () => new Option('--tenant <name>', 'whose, if not your own: for owners');

export function tenantOf({ tenant }: { readonly tenant?: string }): { tenant?: string } {
  return tenant === undefined ? {} : { tenant };
}
