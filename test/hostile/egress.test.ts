import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoAttacks } from './support/attacks.ts';
import { attemptEgress, type EgressTarget, egressAttacks, setEgressTarget } from './support/egress-attacks.ts';

const honest = { name: 'honest', defences: [], python: "check(b'of-the-host' in through('good.test:' + WEB))" };
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
    expect((await attemptEgress(honest, target)).succeeded).toBe(true);
  });
}

const missing = await whyNoAttacks('gvisor');
if (missing !== null) describe('the way out of a jail with gVisor', () => it.skip(`not run: ${missing}`));
else {
  describe('programs on gVisor that attack their way out', () => {
    let target: EgressTarget;
    beforeAll(async () => {
      target = await setEgressTarget();
    });
    afterAll(() => target.close());

    // The proxy is the same: what differs is the network that they have.
    const ofNetwork = egressAttacks.filter(({ defences }) => defences.includes('network-apart') || defences.includes('public-addresses'));
    it.each(ofNetwork.map((attack) => ({ ...attack, toString: () => attack.name })))(
      '$name, and do not succeed [verifies tools.jail.kernel]',
      async (attack) => {
        expect((await attemptEgress(attack, target, [], 'gvisor')).succeeded).toBe(false);
      },
    );

    it('reach what they were granted [verifies tools.jail.kernel]', async () => {
      expect((await attemptEgress(honest, target, [], 'gvisor')).succeeded).toBe(true);
    });
  });
}
