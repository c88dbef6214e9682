import type { Fault } from './plan.ts';

/** Who does it and what it is, as the timeline tells it: a fault of the world, or what an operator decides. */
export function tellFault(fault: Fault): readonly [who: 'fault' | 'operator', what: string] {
  switch (fault.kind) {
    case 'crash':
      return ['fault', `n${fault.node} is killed, and starts again after ${seconds(fault.downMs)}`];
    case 'stop':
      return ['operator', `stops n${fault.node}, and starts it again after ${seconds(fault.downMs)}`];
    case 'pause':
      return ['fault', `n${fault.node} stands still for ${seconds(fault.ms)}`];
    case 'clock':
      return ['fault', `the clock of n${fault.node} is wrong by ${seconds(fault.byMs)} from now on`];
    case 'silence':
      return ['fault', `the database says nothing to ${asker(fault.node)} for ${seconds(fault.ms)}`];
    case 'rough':
      return [
        'fault',
        `the database refuses ${percent(fault.refused)} of what ${asker(fault.node)} asks and loses ${percent(fault.lost)} of its answers, for ${seconds(fault.ms)}`,
      ];
    case 'bus':
      return [
        'fault',
        `${percent(fault.lost)} of the messages between nodes are lost and ${percent(fault.doubled)} come twice, for ${seconds(fault.ms)}`,
      ];
    case 'cut':
      return ['fault', `no node hears of another for ${seconds(fault.ms)}`];
    case 'policy':
      return ['operator', `forbids the tool ${fault.tool} for ${seconds(fault.ms)}`];
    case 'leap':
      return ['fault', `the clock of the database is set forward by ${seconds(fault.byMs)}`];
    case 'limit':
      return ['operator', `sets the limit of ${fault.scope.kind} ${fault.scope.id} to ${fault.limit} ${fault.unit} (${fault.window})`];
    default:
      return fault satisfies never;
  }
}

const asker = (node: number | null) => (node === null ? 'anybody' : `n${node}`);
const percent = (rate: number) => `${Math.round(rate * 100)} %`;
const seconds = (ms: number) => `${ms / 1_000} s`;
