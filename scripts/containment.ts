/**
 * Shows of each defence of jails that it is needed: every attack fails with all of them, and succeeds once those that stand against it are
 * taken away.
 *
 *   npm run verify:containment            all attacks
 *   npm run verify:containment -- memory  those whose name has one of the words
 */
import { defences } from '../packages/server/src/tools/index.ts';
import { attacksHere, attempt, setTarget, whyNoAttacks } from '../test/hostile/support/attacks.ts';

const words = process.argv.slice(2);
const chosen = attacksHere.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
const say = (text: string) => process.stdout.write(`${text}\n`);

const reason = await whyNoAttacks();
if (reason === null) await tryAll();
else {
  say(`verify:containment: nothing was tried: ${reason}`);
  process.exitCode = 1;
}

async function tryAll(): Promise<void> {
  const target = await setTarget();
  const wrong: string[] = [];
  try {
    for (const attack of chosen) {
      const held = !(await attempt(attack, target)).succeeded;
      const needed = attack.defences.length === 0 || (await attempt(attack, target, attack.defences)).succeeded;
      await attempt({ name: 'tidy', defences: [], shell: 'rm -f big* late' }, target);
      const without = attack.defences.length === 0 ? 'kept out by the kernel' : `succeeds without ${attack.defences.join(' and ')}`;
      say(
        `${held && needed ? 'ok    ' : 'FAILED'} ${attack.name}: ${held ? 'kept in' : 'SUCCEEDED'}; ${needed ? without : `fails also without ${attack.defences.join(' and ')}`}`,
      );
      if (!held || !needed) wrong.push(attack.name);
    }
  } finally {
    await target.close();
  }
  const shown = new Set(attacksHere.flatMap((attack) => attack.defences));
  const unshown =
    words.length > 0 ? [] : defences.filter((defence) => !shown.has(defence) && !(defence === 'user' && process.getuid?.() !== 0));
  for (const defence of unshown) say(`FAILED no attack shows that ${defence} is needed`);
  const who = process.getuid?.() === 0 ? 'as root' : 'as an ordinary user';
  say(`verify:containment: ${chosen.length} attacks ${who}, ${wrong.length + unshown.length} failed`);
  if (wrong.length + unshown.length > 0) process.exitCode = 1;
}
