/**
 * Runs a load script by k6 where that is installed, else by a runner of our own, which has as much of k6 as the script uses. Says which.
 *
 *   node --conditions=nexus-source bench/k6.ts [bench/tool_execution_test.js] [--url http://127.0.0.1:8080] [--key nxk_…] [--duration 30s] [--own]
 *
 * Without `--url` it starts a server of its own, on this machine. `--own` leaves k6 aside. Ends with 99, as k6 does, when a threshold does not hold.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { readArguments } from './support/arguments.ts';
import { runScript } from './support/k6/run-script.ts';
import { startPlatform } from './support/processes.ts';

const { values, positionals } = readArguments({
  options: {
    url: { type: 'string' },
    key: { type: 'string' },
    duration: { type: 'string' },
    own: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const script = positionals[0] ?? join(import.meta.dirname, 'tool_execution_test.js');
const platform = values.url === undefined ? await startPlatform() : undefined;
const env = { NEXUS_URL: values.url ?? platform?.url ?? '', ...(values.key === undefined ? {} : { NEXUS_KEY: values.key }) };
const { duration } = values;

try {
  process.exitCode = values.own ? await byOurs() : (byK6() ?? (await byOurs()));
} finally {
  await platform?.close();
}

/** Null: k6 is not installed. */
function byK6(): number | null {
  if (spawnSync('k6', ['version']).error !== undefined) return null;
  process.stdout.write('run by: k6\n');
  const given = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  return (
    spawnSync('k6', ['run', ...given, ...(duration === undefined ? [] : ['--duration', duration]), script], { stdio: 'inherit' }).status ??
    1
  );
}

async function byOurs(): Promise<number> {
  process.stdout.write('run by: bench/k6.ts, the runner of this project\n');
  const found = await runScript(script, env, duration === undefined ? {} : { duration });
  const { requests, failed, checksFailed, iterations, seconds } = found;
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  process.stdout.write(
    `requests ${requests} in ${seconds.toFixed(1)} s (${(requests / seconds).toFixed(0)}/s), iterations ${iterations}\n` +
      `p50 ${ms(found.p50)}  p95 ${ms(found.p95)}  p99 ${ms(found.p99)}\nerrors ${failed}, checks that failed ${checksFailed}\n`,
  );
  for (const { metric, expression, value, holds } of found.thresholds)
    process.stdout.write(`${holds ? 'holds ' : 'BROKEN'}  ${metric} ${expression}  (${value.toFixed(3)})\n`);
  return found.thresholds.every(({ holds }) => holds) ? 0 : 99;
}
