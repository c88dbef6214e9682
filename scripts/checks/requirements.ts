/**
 * Every requirement has a test, every citation names a requirement, and every section of the guide says which show what it claims:
 *
 *   <!-- shown by: budget.billed, budget.usage -->
 *
 *   node scripts/checks/requirements.ts [--list]     --list prints each requirement with the tests that cite it
 *
 * Reads the tests' source, so it needs no test run and holds for tests that run in parallel.
 */
import { type RequirementId, requirements } from '../../test/requirements.ts';
import { type Finding, lineOf, listFiles, readText, report } from './files.ts';

const citation = /\bverifies\(([^)]*)\)|\[verifies ([^\]$]+)\]/g;
const root = process.cwd();
const cited = new Map<string, string[]>();
const findings: Finding[] = [];

for (const file of listFiles(root).filter((name) => /\.(test|testkit)\.ts$|^test\/(conformance|e2e|chaos)\/.*\.ts$/.test(name))) {
  const text = readText(root, file);
  for (const match of text.matchAll(citation)) {
    const ids =
      match[1] === undefined ? (match[2] ?? '').split(/\s+/) : [...match[1].matchAll(/['"]([^'"]+)['"]/g)].map((id) => id[1] ?? '');
    for (const id of ids) {
      const line = lineOf(text, match.index);
      if (!(id in requirements))
        findings.push({ rule: 'unknown-requirement', file, line, message: `${id} is not in test/requirements.ts` });
      cited.set(id, [...(cited.get(id) ?? []), `${file}:${line}`]);
    }
  }
}

// Safe: the keys of an object literal are exactly its own.
const ids = Object.keys(requirements) as RequirementId[];
for (const id of ids) {
  if (!cited.has(id))
    findings.push({ rule: 'untested-requirement', file: 'test/requirements.ts', message: `${id}: ${requirements[id].behaviour}` });
}
/** Pages that tell users what the product does; other pages explain. */
const guides = listFiles(root).filter((name) => name === 'docs/guide.md' || /^docs\/tools\/.*\.md$/.test(name));
for (const guide of guides)
  for (const { 1: heading = '', 2: body = '', index } of readText(root, guide).matchAll(/^##+ (.+)\n([\s\S]*?)(?=^##+ |$(?![\s\S]))/gm)) {
    const line = lineOf(readText(root, guide), index);
    const shown = [...body.matchAll(/<!-- shown by: (.+?) -->/g)].flatMap(([, list = '']) => list.split(/,\s*/));
    if (shown.length === 0)
      findings.push({ rule: 'unshown-claims', file: guide, line, message: `"${heading}" does not say which tests show it` });
    for (const id of shown)
      if (!(id in requirements))
        findings.push({ rule: 'unknown-requirement', file: guide, line, message: `${id} is not in test/requirements.ts` });
  }
if (process.argv.includes('--list')) {
  for (const id of ids)
    process.stdout.write(`${requirements[id].promise}  ${id}\n     ${(cited.get(id) ?? ['no test']).join('\n     ')}\n`);
}
report('requirements', `${ids.length} requirements, ${ids.filter((id) => cited.has(id)).length} with tests`, findings);
