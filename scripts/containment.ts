/**
 * Shows of each defence of the sandboxes (the engine of code, the host of modules, jails and the way out of them) that it is needed: every
 * attack fails with all of them, and succeeds once those that stand against it are taken away.
 *
 *   npm run verify:containment            all attacks
 *   npm run verify:containment -- memory  those whose name has one of the words
 */
import { defences, type JailDriver, proxyDefences } from '../packages/server/src/tools/index.ts';
import { type Attack, attacksHere, attacksOnGvisor, attempt, ofGvisor, setTarget, whyNoAttacks } from '../test/hostile/support/attacks.ts';
import { attemptCode, attemptModule, codeAttacks, codeDefences, moduleAttacks } from '../test/hostile/support/code-attacks.ts';
import { attemptEgress, type EgressAttack, egressAttacks, setEgressTarget } from '../test/hostile/support/egress-attacks.ts';

const words = process.argv.slice(2);
const isChosen = ({ name }: { readonly name: string }) => words.length === 0 || words.some((word) => name.includes(word));
const say = (text: string) => process.stdout.write(`${text}\n`);
const wrong: string[] = [];
let count = 0;

interface Tried {
  readonly name: string;
  readonly defences: readonly string[];
}

for (const attack of codeAttacks.filter(isChosen))
  await tryOne('T0', attack, 'what is not there, or fixed', (without) => attemptCode(attack, without));
for (const attack of moduleAttacks.filter(isChosen))
  await tryOne('T1', attack, 'what is not there, or fixed', (without) => attemptModule(attack, without));
const reason = await whyNoAttacks();
if (reason === null) {
  await tryJails('T2', 'bubblewrap', attacksHere);
  await tryEgress('way out', 'bubblewrap', egressAttacks);
  const missing = await whyNoAttacks('gvisor');
  if (missing === null) {
    await tryJails('T3', 'gvisor', attacksOnGvisor.map(ofGvisor));
    // What the proxy refuses it refuses to everybody: here only what programs say themselves is tried.
    await tryEgress(
      'T3 out',
      'gvisor',
      egressAttacks.map((attack) => ({ ...attack, defences: [] })),
    );
  } else say(`verify:containment: T3 was not tried: ${missing}`);
  sayDefences();
} else {
  say(`verify:containment: no jail was tried: ${reason}`);
  wrong.push('all');
}
// What an attack left open where its defence was away.
process.exit(wrong.length > 0 ? 1 : 0);

async function tryJails(tier: string, driver: JailDriver, attacks: readonly Attack[]): Promise<void> {
  const target = await setTarget();
  try {
    for (const attack of attacks.filter(isChosen)) {
      await tryOne(
        tier,
        attack,
        driver === 'gvisor' ? 'a kernel of its own' : 'the kernel',
        async (without) => (await attempt(attack, target, without ? attack.defences : [], driver)).succeeded,
      );
    }
  } finally {
    await target.close();
  }
}

async function tryEgress(tier: string, driver: JailDriver, attacks: readonly EgressAttack[]): Promise<void> {
  const target = await setEgressTarget();
  try {
    for (const attack of attacks.filter(isChosen)) {
      const tryIt = async (without: boolean) => (await attemptEgress(attack, target, without ? attack.defences : [], driver)).succeeded;
      await tryOne(tier, attack, driver === 'gvisor' ? 'the proxy' : 'how requests are read', tryIt);
    }
  } finally {
    await target.close();
  }
}

async function tryOne(tier: string, attack: Tried, otherwise: string, tryIt: (without: boolean) => Promise<boolean>): Promise<void> {
  count += 1;
  const held = !(await tryIt(false));
  const needed = attack.defences.length === 0 || (await tryIt(true));
  const by = attack.defences.length === 0 ? otherwise : attack.defences.join(' and ');
  const without = attack.defences.length === 0 ? '' : needed ? ', succeeds without' : ', FAILS ALSO WITHOUT';
  say(
    `${held && needed ? 'ok    ' : 'FAILED'} ${tier.padEnd(7)} | ${attack.name} | ${held ? `contained by ${by}` : 'SUCCEEDED'}${without}`,
  );
  if (!held || !needed) wrong.push(attack.name);
}

function sayDefences(): void {
  const shown = new Set<string>(
    [...codeAttacks, ...moduleAttacks, ...attacksHere, ...egressAttacks].flatMap((attack: Tried) => attack.defences),
  );
  const all = [...codeDefences, ...defences, ...proxyDefences].filter((defence) => !(defence === 'user' && process.getuid?.() !== 0));
  for (const defence of words.length > 0 ? [] : all.filter((each) => !shown.has(each))) {
    say(`FAILED no attack shows that ${defence} is needed`);
    wrong.push(defence);
  }
  const who = process.getuid?.() === 0 ? 'as root' : 'as an ordinary user';
  say(`verify:containment: ${count} attacks ${who}, ${wrong.length} failed`);
}
