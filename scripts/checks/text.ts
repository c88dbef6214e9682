/**
 * What no compiler sees: files that grew too long, traces of one machine, unfinished work, tests that do not run, dead links.
 *
 *   node scripts/checks/text.ts
 */
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { type Finding, isBinary, lineOf, listFiles, readText, report } from './files.ts';

const maxLines = 600;

interface PatternRule {
  readonly rule: string;
  readonly files: RegExp;
  readonly except?: RegExp;
  /** Written so that this file does not match itself. */
  readonly pattern: RegExp;
  readonly message: string;
}

const code = /\.(ts|tsx|mts|mjs|js|cjs|sh|css)$|(^|\/)Makefile$|^\.ci\/run$/;
const gates = /^scripts\/gates\//;

const patternRules: readonly PatternRule[] = [
  {
    rule: 'machine-path',
    files: /./,
    pattern: /(?<![\w.:/-])\/(?:work|root|farm|Users|home\/(?!(?:runner|node|nexus|user|secret)\b)[a-z][\w-]*)\/[\w.-]/g,
    message: 'a path of one machine',
  },
  {
    rule: 'registry-host',
    files: /./,
    pattern: /registry\.[a-z-]+\.(?:org|com|io|dev)\b|"resolved":\s*"https?:/g,
    message: 'the host of a package registry; each machine configures its own',
  },
  { rule: 'unfinished', files: code, pattern: /\b(?:TO[D]O|FIX[M]E|X[X]X|HAC[K])\b/g, message: 'finish it, or say it in the docs' },
  {
    rule: 'exclusive-test',
    files: /\.(test|conformance|testkit)\.ts$/,
    pattern: /\b(?:it|test|describe|suite)(?:\.\w+)*\.only\b/g,
    message: 'keeps the other tests from running',
  },
  {
    rule: 'skipped-test',
    files: /\.(test|conformance|testkit)\.ts$/,
    pattern: /\b(?:it|test|describe|suite)(?:\.\w+)*\.(?:todo\(|skip\((?!\s*[`'"]not run: ))|\bx(?:it|describe)\(|\bskip\(\s*\)/g,
    message: 'a test that does not run: give the reason, `not run: …`',
  },
  {
    rule: 'types-off',
    files: /\.(ts|tsx|mts)$/,
    pattern: /@ts-(?:ignore|nocheck)|@ts-expect-erro[r](?!:? \S)|biome-ignore(?:-\w+)? [\w/]+:?\s*$/gm,
    message: 'say why, beside it',
  },
];

function checkFile(file: string, text: string): Finding[] {
  const findings: Finding[] = [];
  const add = (rule: string, message: string, offset?: number) =>
    findings.push({ rule, file, message, ...(offset === undefined ? {} : { line: lineOf(text, offset) }) });
  for (const { rule, files, except, pattern, message } of patternRules) {
    if (!files.test(file) || except?.test(file) === true || gates.test(file)) continue;
    for (const match of text.matchAll(pattern)) add(rule, `${JSON.stringify(match[0].trim())}: ${message}`, match.index);
  }
  const generated = /@generated/.test(text.slice(0, 400));
  const lines = text.split('\n').length - 1;
  if ((code.test(file) || /\.md$/.test(file)) && !generated && lines > maxLines) {
    add('file-length', `${lines} lines; ${maxLines} is the most: find the second idea in it`);
  }
  if (/\.test\.ts$/.test(file) && /\.(?:skipIf|runIf)\(/.test(text) && !/reason/i.test(text)) {
    add('skipped-test', 'skips without printing a reason');
  }
  return findings;
}

function checkLinks(root: string, file: string, text: string): Finding[] {
  const findings: Finding[] = [];
  const prose = text.replace(/```[\s\S]*?```/g, (block) => block.replace(/[^\n]/g, ' '));
  for (const match of prose.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)) {
    const link = match[1] ?? '';
    if (/^[a-z][a-z+.-]*:/i.test(link)) continue;
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? file : normalize(join(path.startsWith('/') ? '' : dirname(file), decodeURIComponent(path)));
    const line = lineOf(text, match.index);
    if (!existsSync(join(root, target))) findings.push({ rule: 'broken-link', file, line, message: `${link}: there is no ${target}` });
    else if (anchor !== undefined && /\.md$/.test(target) && !anchorsOf(readText(root, target)).has(anchor)) {
      findings.push({ rule: 'broken-link', file, line, message: `${link}: ${target} has no such heading` });
    }
  }
  return findings;
}

/** The anchors that GitHub gives the headings of a page. */
function anchorsOf(text: string): Set<string> {
  const headings = text.replace(/```[\s\S]*?```/g, '').matchAll(/^#{1,6}\s+(.*)$/gm);
  return new Set(
    [...headings].map((heading) =>
      (heading[1] ?? '')
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  );
}

const root = process.cwd();
const files = listFiles(root);
const findings = files.flatMap((file) => {
  const text = readText(root, file);
  if (isBinary(text)) return [];
  return [...checkFile(file, text), ...(/\.md$/.test(file) ? checkLinks(root, file, text) : [])];
});
report('text', `${files.length} files`, findings);
