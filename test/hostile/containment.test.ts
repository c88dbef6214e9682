import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attacksHere, attempt, setTarget, type Target, whyNoAttacks } from './support/attacks.ts';

const reason = await whyNoAttacks();
if (reason !== null) describe('programs in jails', () => it.skip(`not run: ${reason}`));
else describe('programs in jails', suite);

function suite() {
  let target: Target;
  beforeAll(async () => {
    target = await setTarget();
  });
  afterAll(() => target.close());

  it.each(attacksHere.map((attack) => ({ ...attack, toString: () => attack.name })))(
    '$name, and do not succeed; an honest one right after does [verifies tools.jail.contained tools.jail.same]',
    async (attack) => {
      const delay = monitorEventLoopDelay({ resolution: 10 });
      const rssBefore = process.memoryUsage().rss;
      delay.enable();
      const { succeeded, end } = await attempt(attack, target);
      delay.disable();
      expect(succeeded, `${Buffer.from(end.stdout).toString().slice(0, 500)} ${Buffer.from(end.stderr).toString().slice(0, 500)}`).toBe(
        false,
      );
      // The median too would tell a loop that is held up; the most is of a machine that others use as well.
      expect(delay.percentile(90) / 1e6).toBeLessThan(250);
      expect(process.memoryUsage().rss - rssBefore).toBeLessThan(200 * 1024 * 1024);
      const honest = await attempt({ name: 'honest', defences: [], shell: 'rm -f big* late; echo ESCAPED' }, target);
      expect(honest.succeeded).toBe(true);
    },
  );

  it('leave nothing behind', () => {
    const left = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(target.folder);
        } catch {
          return false;
        }
      });
    expect(left).toEqual([]);
  });
}
