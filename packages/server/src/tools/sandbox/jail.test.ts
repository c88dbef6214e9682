import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeJails, limits, make, never } from './jail.testkit.ts';

await describeJails('jails', 'bubblewrap');

it('say what is missing where there is no bubblewrap, and run nothing [verifies tools.jail.refused]', async () => {
  const jail = make({ bubblewrap: '/nonexistent/bwrap' });
  const before = readdirSync('/proc').length;
  expect(await jail.refusal()).toMatch(
    /^bubblewrap is not installed at \/nonexistent\/bwrap: install it|^processes are jailed on Linux only/,
  );
  const end = await jail.run({ argv: ['/bin/sh', '-c', 'echo ran'], limits }, never);
  expect(end).toMatchObject({ type: 'stopped', error: { code: 'sandbox_unavailable', retryable: false } });
  expect(readdirSync('/proc').length).toBeLessThan(before + 20);
  await expect(jail.spawn({ argv: ['/bin/sh'], limits }, never)).rejects.toMatchObject({ code: 'sandbox_unavailable' });
  await jail.close();
});

it('say what a bubblewrap said that does not work', async () => {
  const jail = make({ bubblewrap: '/bin/false' });
  if (process.platform === 'linux') expect(await jail.refusal()).toMatch(/^a jail was tried and failed .*namespaces/s);
  await jail.close();
});
