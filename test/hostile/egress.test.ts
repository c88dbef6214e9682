import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoAttacks } from './support/attacks.ts';
import { attemptEgress, type EgressTarget, egressAttacks, setEgressTarget } from './support/egress-attacks.ts';

const reason = await whyNoAttacks();
if (reason !== null) describe('the way out of a jail', () => it.skip(`not run: ${reason}`));
else describe('programs that attack their way out', suite);

function suite() {
  let target: EgressTarget;
  beforeAll(async () => {
    target = await setEgressTarget();
  });
  afterAll(() => target.close());

  it.each(egressAttacks.map((attack) => ({ ...attack, toString: () => attack.name })))(
    '$name, and do not succeed [verifies tools.egress.contained tools.egress.limits]',
    async (attack) => {
      const { succeeded, end } = await attemptEgress(attack, target);
      expect(succeeded, `${Buffer.from(end.stdout)} ${Buffer.from(end.stderr)}`).toBe(false);
    },
  );

  it('are served again right after [verifies tools.egress.granted]', async () => {
    const honest = { name: 'honest', defences: [], python: "check(b'of-the-host' in through('good.test:' + WEB))" };
    expect((await attemptEgress(honest, target)).succeeded).toBe(true);
  });
}
