import { readFileSync, writeFileSync } from 'node:fs';
import { format, meets, type Result } from './report.ts';

const begin = '<!-- begin: written by bench/run.ts -->';
const end = '<!-- end -->';

/** Replaces the table between the two marks of the document. */
export function writeTable(path: string, result: Result): void {
  const text = readFileSync(path, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${path} has no place for the figures`);
  writeFileSync(path, `${text.slice(0, from + begin.length)}\n${tableOf(result)}\n${text.slice(to)}`);
}

function tableOf({ machine, date, command, reports, failures }: Result): string {
  const { cores, cpu, memoryGb, platform, node, loadBefore } = machine;
  const rows = reports.flatMap(({ bench, figures }) =>
    figures.map((figure) => {
      const { name, value, unit, bar } = figure;
      const verdict = bar === undefined ? '' : meets(figure) === true ? 'met' : '**not met**';
      return `| ${bench} | ${name} | ${`${format(value)} ${unit}`.trim()} | ${bar === undefined ? '' : `${bar.op} ${bar.value}`} | ${verdict} |`;
    }),
  );
  const notes = [
    ...reports.flatMap((report) => report.notes.map((note) => `${report.bench}: ${note}`)),
    ...failures.map((failure) => `not measured: ${failure}`),
  ];
  return [
    '',
    `\`${command}\` on ${date.slice(0, 10)}: ${cores} cores (${cpu}), ${memoryGb} GB, ${platform}, Node ${node}, load average ${loadBefore} at the start.`,
    '',
    '| Bench | What | Figure | Bar | |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    ...notes.map((note) => `- ${note}`),
    '',
  ].join('\n');
}
