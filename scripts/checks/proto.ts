/**
 * The messages and services of `packages/protocol/proto` follow the rules of buf, and whoever was built with what
 * `descriptors.binpb` describes still understands them. A server tells its clients by reflection what is in that file.
 *
 *   node scripts/checks/proto.ts [--fix]
 *
 * `--fix` writes what is there now into it, unless that breaks what it said.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = 'packages/protocol/proto';
const baseline = `${folder}/descriptors.binpb`;

function buf(...words: string[]): Buffer {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join('node_modules', '@bufbuild', 'buf', 'bin', 'buf'), ...words]);
  if (status === 0) return stdout;
  process.stdout.write(`${stdout}${stderr}\nproto: buf ${words[0]} says so\n`);
  process.exit(1);
}

buf('lint', folder);
buf('breaking', folder, '--against', baseline);
const now = buf('build', folder, '--exclude-source-info', '--as-file-descriptor-set', '-o', '-');
if (process.argv.includes('--fix')) writeFileSync(baseline, now);
else if (!readFileSync(baseline).equals(now)) {
  process.stdout.write(`${baseline} is not what the .proto files say\n`);
  process.exit(1);
}
process.stdout.write('proto: linted, and nothing breaks\n');
