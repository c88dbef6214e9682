import { dictionary } from '@nexus-agent/protocol';
import { hashText } from './text.ts';

/**
 * Faults and pace of one answer. Set for the whole simulator by its options, for a request by `x-sim-<knob>` headers,
 * or (so that an agent definition can use them) behind the model's name: `sim-large?cut=3&times=1`. The later wins.
 * Counts are of content chunks: pieces of text, reasoning or tool arguments.
 *
 * latencyMs=N    wait before the answer begins          tokensPerSecond=N  pace of the chunks (0: as fast as possible)
 * status=N       answer with this HTTP status           retryAfterMs=N     with a retry-after-ms header
 * errorRate=0…1  share of requests (seeded, by idempotency key and count) that get `status` (default 503)
 * cut=N          end the response properly after N chunks, without the terminal event
 * die=N          destroy the socket after N chunks      stall=N            send nothing more after N chunks
 * malformed=N    send a broken JSON chunk after N       inband=N           send an error event after N chunks
 * flood=N        send an endless line after N chunks    noUsage=1          never report usage
 * contentType=T  answer 200 with this content type and a body that is no stream
 * times=N        the faults above hit only the first N requests of an idempotency key
 */
export interface Knobs {
  readonly latencyMs: number;
  readonly tokensPerSecond: number;
  readonly status: number | null;
  readonly retryAfterMs: number | null;
  readonly errorRate: number | null;
  readonly cut: number | null;
  readonly die: number | null;
  readonly stall: number | null;
  readonly malformed: number | null;
  readonly inband: number | null;
  readonly flood: number | null;
  readonly noUsage: boolean;
  readonly contentType: string | null;
  readonly times: number | null;
}

export const calmKnobs: Knobs = {
  latencyMs: 0,
  tokensPerSecond: 0,
  status: null,
  retryAfterMs: null,
  errorRate: null,
  cut: null,
  die: null,
  stall: null,
  malformed: null,
  inband: null,
  flood: null,
  noUsage: false,
  contentType: null,
  times: null,
};

const names = Object.keys(calmKnobs);

/** Reads `name=value` pairs; unknown names and values that are no numbers throw, so that a typing error shows. */
export function readKnobs(pairs: Iterable<readonly [string, string]>): Partial<Knobs> {
  const read: Record<string, number | boolean | string> = dictionary({});
  for (const [key, value] of pairs) {
    const name = names.find((candidate) => candidate.toLowerCase() === key.toLowerCase().replaceAll('-', ''));
    if (name === undefined) throw new Error(`the simulator has no knob ${key}; it has ${names.join(', ')}`);
    if (name === 'contentType') read[name] = value;
    else if (name === 'noUsage') read[name] = value !== '0' && value !== 'false';
    else if (value !== '' && Number.isFinite(Number(value)) && Number(value) >= 0) read[name] = Number(value);
    else throw new Error(`the simulator's knob ${name} needs a number, not "${value}"`);
  }
  return read as Partial<Knobs>; // every name is a knob and its value has the knob's type
}

/** `sim-large?cut=3` -> the model's plain name and its knobs. */
export function splitModel(model: string): { readonly name: string; readonly knobs: Partial<Knobs> } {
  const mark = model.indexOf('?');
  if (mark === -1) return { name: model, knobs: {} };
  return { name: model.slice(0, mark), knobs: readKnobs(new URLSearchParams(model.slice(mark + 1))) };
}

/** The knobs without their faults when `times` is used up or the dice of `errorRate` spare this request. */
export function armKnobs(knobs: Knobs, request: { readonly seed: number; readonly key: string; readonly count: number }): Knobs {
  if (knobs.times !== null && request.count > knobs.times) {
    return { ...calmKnobs, latencyMs: knobs.latencyMs, tokensPerSecond: knobs.tokensPerSecond };
  }
  if (knobs.errorRate === null) return knobs;
  const hit = hashText(`${request.seed}:${request.key}:${request.count}`) / 0x1_0000_0000 < knobs.errorRate;
  return { ...knobs, status: hit ? (knobs.status ?? 503) : null };
}
