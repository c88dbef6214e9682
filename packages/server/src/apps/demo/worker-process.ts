import { type ConfigInput, resolveConfig } from '#apps/config';
import { startAllInOne } from '../all-in-one.ts';

/** What the parent sends once, and what it is answered. */
export type SecondProcessRequest = { readonly config: ConfigInput; readonly version: string };
export type SecondProcessAnswer = { readonly type: 'ready'; readonly url: string } | { readonly type: 'failed'; readonly message: string };

/**
 * A second process of the platform, for the demo to kill. Its parent sends the configuration; it answers with its address
 * and ends when the parent goes away.
 */
async function serve({ config, version }: SecondProcessRequest): Promise<void> {
  const app = await startAllInOne({ config: resolveConfig({ env: {}, flags: config }), version });
  process.once('disconnect', () => {
    void app.close().finally(() => process.exit(0));
  });
  answer({ type: 'ready', url: app.url });
}

function answer(message: SecondProcessAnswer): void {
  process.send?.(message);
}

process.once('message', (request) => {
  // Sent by startSecondProcess.
  serve(request as SecondProcessRequest).catch((error: unknown) => {
    answer({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
    process.disconnect();
  });
});
