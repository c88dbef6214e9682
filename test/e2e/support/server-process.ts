import { resolveConfig } from '../../../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../../../packages/server/src/apps/index.ts';

/** A second process over the same database. Its flags come as JSON; it says its address and ends when its input closes. */
const flags: unknown = { auth: { local: 'open' }, ...JSON.parse(process.argv[2] ?? '{}') };
const app = await startAllInOne({
  config: resolveConfig({ env: {}, flags: flags as Record<string, never> }), // a tree of plain values, from our parent
  version: '0.0.0-test',
});
process.stdout.write(`${app.url}\n`);
process.stdin.resume();
process.stdin.once('end', () => void app.close().then(() => process.exit(0)));
