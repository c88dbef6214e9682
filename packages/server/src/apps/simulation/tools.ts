import { NexusError } from '#core';
import type { Tool } from '#tools';
import type { Chance } from './chance.ts';
import type { Witness } from './witness.ts';
import type { Owner, World } from './world.ts';

/** What tools did to the world outside. */
export interface OutsideEffect {
  readonly at: number;
  readonly tool: string;
  readonly runId: string;
  readonly callId: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
}

export interface ToolWeather {
  readonly fail: number;
  readonly slow: number;
  readonly hang: number;
}

export interface OutsideWorld {
  connect(owner: Owner): readonly Tool[];
  readonly effects: readonly OutsideEffect[];
}

const timeoutMs = 8_000;

/** Tools of each kind of effect, which take time, fail, hang, and may have done what they say nothing of. */
export function createOutsideWorld(world: World, weather: ToolWeather, chance: Chance, witness: () => Witness): OutsideWorld {
  const effects: OutsideEffect[] = [];

  function connect(owner: Owner): readonly Tool[] {
    const tool = (name: string, kind: Tool['effects']): Tool => ({
      name,
      description: `for the simulation: ${kind}`,
      inputSchema: { type: 'object' },
      effects: kind,
      permissions: [],
      timeoutMs,
      execute: (_input, { runId, callId, attempt, idempotencyKey, signal }) =>
        new Promise((resolve, reject) => {
          world.hold(() => witness().worked(runId, callId, attempt));
          const fate = chance.weighted({ ...weather, work: 1 });
          const workMs = fate === 'slow' ? chance.next() * timeoutMs * 1.2 : chance.next() * 300;
          const doneAt = chance.next();
          // The effect is done on the way, by another server: what happens to this node changes nothing about it.
          if (fate !== 'fail') {
            world.after(workMs * doneAt, chance.hits(0.5) ? owner : null, () => {
              if (signal.aborted && chance.hits(0.7)) return;
              effects.push({ at: world.now, tool: name, runId, callId, attempt, idempotencyKey });
              world.say('outside', `${name} of ${callId}, attempt ${attempt}`);
            });
          }
          if (fate === 'hang') return;
          world.after(workMs, owner, () => {
            if (fate !== 'fail') return resolve({ type: 'ok', output: `${name} done` });
            if (chance.hits(0.5)) return reject(new Error('the tool broke'));
            const { code, message, retryable } = new NexusError('tool_failed', 'it did not work').toInfo();
            resolve({ type: 'error', error: { code, message, retryable } });
          });
        }),
    });
    const note: Tool = {
      ...{ name: 'note', description: 'for the simulation: writes files of the session', inputSchema: { type: 'object' } },
      ...{ effects: 'idempotent', permissions: ['fs.write'], sharesFolder: true, timeoutMs },
      async execute({ n }, { runId, callId, attempt, files, signal }) {
        world.hold(() => witness().worked(runId, callId, attempt));
        // Few names and few contents: they come again, in other files and sessions.
        const number = Number(n);
        await files.write(`notes/${number % 3}.txt`, Buffer.from(`content ${number % 4} `.repeat(20)), signal);
        if (number % 2 === 0) await files.write(`call/${callId.slice(-4)}.txt`, Buffer.from(`of ${callId}`), signal);
        return { type: 'ok', output: 'note done' };
      },
    };
    return [tool('look', 'none'), tool('put', 'idempotent'), tool('pay', 'once'), note];
  }
  return { connect, effects };
}
