/**
 * The newcomer's map tells the truth: what it names is there, and nothing takes more than four files.
 *
 *   node scripts/checks/newcomer-map.ts
 *
 * `npm run verify:gates` also follows it: it adds an event and an endpoint in the files that the map names.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { heading, matching, page, readRows } from './newcomer-rows.ts';

const maxFiles = 4;
const root = process.cwd();
const rows = readRows(root);
const findings: Finding[] = rows.flatMap(({ what, paths, line }) => {
  const found = (rule: string, message: string): Finding => ({ rule, file: page, line, message: `${what}: ${message}` });
  const nowhere = paths
    .filter((path) => !matching(root, path).some((file) => !isTestCode(file) || isTestCode(path)))
    .map((path) => found('map-path', `there is nothing like ${path}`));
  return paths.length > maxFiles ? [...nowhere, found('map-size', `takes ${paths.length} files, ${maxFiles} is the most`)] : nowhere;
});
if (rows.length === 0) findings.push({ rule: 'map-missing', file: page, message: `there is no table below "${heading}"` });
report('map', `${rows.length} rows`, findings);
