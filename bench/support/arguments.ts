/** What a benchmark or its gate is called with: `--help` shows the comment at the head of its file, and what it cannot use ends it. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';

/** As `parseArgs` of Node; an option whose standard is a number takes whole numbers from 1. Ends the process with 2 where it cannot. */
export function readArguments<const Config extends ParseArgsConfig>(config: Config): ReturnType<typeof parseArgs<Config>> {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${headOf(process.argv[1] ?? '')}\n`);
    process.exit(0);
  }
  try {
    const found = parseArgs(config);
    const values: Readonly<Record<string, unknown>> = found.values;
    for (const [name, { default: standard }] of Object.entries(config.options ?? {})) checkNumber(name, standard, values[name]);
    return found;
  } catch (error) {
    // Of what Node says only the first sentence is about the call.
    const [message] = error instanceof Error ? error.message.split(/[.\n]/) : [String(error)];
    process.stderr.write(`error: ${message}\n(--help shows what ${basename(process.argv[1] ?? '')} takes)\n`);
    process.exit(2);
  }
}

function checkNumber(name: string, standard: unknown, value: unknown): void {
  if (typeof standard !== 'string' || !/^\d+$/.test(standard)) return;
  if (!/^[1-9]\d*$/.test(String(value))) throw new Error(`--${name} takes a whole number from 1, got ${value}`);
}

/** The first comment of a file, without its marks. */
function headOf(file: string): string {
  const [, comment = ''] = /\/\*\*(.*?)\*\//s.exec(readFileSync(file, 'utf8')) ?? [];
  return comment.replaceAll(/^ *\* ?/gm, '').trim();
}
