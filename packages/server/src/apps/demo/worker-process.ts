import { resolveConfig } from '#core';
import { startAllInOne } from '../all-in-one.ts';

/**
 * A second process of the platform, for the demo to kill. Its parent sends the configuration; it answers with its address
 * and ends when the parent goes away.
 */
async function main(flags: Parameters<typeof resolveConfig>[0]['flags']): Promise<void> {
  const app = await startAllInOne({ config: resolveConfig({ env: {}, ...(flags === undefined ? {} : { flags }) }), version: 'demo' });
  process.once('disconnect', () => {
    void app.close().finally(() => process.exit(0));
  });
  process.send?.({ url: app.url });
}

process.once('message', (flags) => {
  main(flags as Parameters<typeof main>[0]).catch((error: unknown) => {
    process.send?.({ error: error instanceof Error ? error.message : String(error) });
    process.exit(1);
  }); // sent by startWorkerProcess
});
