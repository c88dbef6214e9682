/**
 * Attacks servers of its own on both databases, as whoever runs this, and where that is root as an ordinary user besides.
 *
 *   npm run verify:hostile                 all attacks
 *   npm run verify:hostile -- kill leak    those whose file has one of the words in its name
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { copyTree } from './gates/copy.ts';

/** The user that owns nothing. */
const ordinary = 65_534;
const timeoutMs = 1_200_000;
/**
 * It makes no difference to them who runs the server: what web pages, clients and providers send over the network, and programs that
 * end their own process. What files, folders, jails and the kernel have a say in is tried as both.
 */
const sameForAll = [
  'packages/server/src/llm/hostile.test.ts',
  'packages/server/src/tools/wire/hostile.test.ts',
  ...['browser', 'code', 'fuzz', 'huge', 'kill', 'learned', 'provider', 'requests', 'steer', 'words'].map(
    (name) => `test/hostile/${name}.test.ts`,
  ),
];

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);
const isRoot = process.getuid?.() === 0;

const own = attack('as this user', root, null);
const other = isRoot ? asOrdinary() : 'not tried: only root can become an ordinary user, and this is one';
process.stdout.write(`\nverify:hostile: as ${isRoot ? 'root' : 'this user'} ${own}; as an ordinary user ${other}\n`);
if (own !== 'held' || (isRoot && other !== 'held')) process.exitCode = 1;

/** On a copy that everybody may read, since the work tree may lie where only its owner can look. */
function asOrdinary(): string {
  const copy = copyTree(root);
  try {
    if (!isReadable(copy.folder)) return 'not tried: this Node, or the packages, cannot be read by others';
    return attack('as an ordinary user', copy.folder, ordinary, sameForAll);
  } finally {
    copy.remove();
  }
}

function isReadable(folder: string): boolean {
  spawnSync('chown', ['-R', `${ordinary}:${ordinary}`, folder]);
  const program = "require('node:fs').readFileSync('node_modules/vitest/package.json')";
  return spawnSync(process.execPath, ['-e', program], { cwd: folder, uid: ordinary, gid: ordinary }).status === 0;
}

function attack(who: string, folder: string, user: number | null, left: readonly string[] = []): string {
  process.stdout.write(`\n=== ${who}\n`);
  const home = mkdtempSync(join(tmpdir(), 'nexus-attacker-'));
  chmodSync(home, 0o777);
  try {
    const { status } = spawnSync(
      process.execPath,
      ['node_modules/vitest/vitest.mjs', 'run', '--project', 'hostile', ...left.flatMap((file) => ['--exclude', file]), ...words],
      {
        cwd: folder,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          ...process.env,
          PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
          ...(user === null ? {} : { HOME: home, TMPDIR: home }),
        },
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        ...(user === null ? {} : { uid: user, gid: user }),
      },
    );
    return status === 0 ? 'held' : 'FAILED';
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
