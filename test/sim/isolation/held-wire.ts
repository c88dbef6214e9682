import { openPostgresRelay, type RelayedPair } from '../../support/postgres-relay.ts';

/** `answer lost`: it is carried out, and then the connection is gone. `never arrives`: the connection goes first. */
export type Fate = 'passes' | 'answer lost' | 'never arrives';

/** A way to Postgres for one node, on which each statement waits until it is let through. */
export interface HeldWire {
  readonly url: string;
  /** What waits to be let through: the beginning of its text. Null: nothing. */
  readonly held: string | null;
  /** The statement that the server has not answered yet, as the id of its process. Null: none. */
  readonly unanswered: number | null;
  /** How often the server ended a statement here because transactions waited for each other. */
  readonly deadlocks: number;
  /** What is sent goes through at once. */
  free: boolean;
  /** Lets what waits go through. */
  pass(fate: Fate): void;
  close(): void;
}

interface Pair extends RelayedPair {
  readonly statements: Map<string, string>;
  readonly units: { readonly text: string; readonly data: Buffer }[];
  pid: number;
  sent: number;
  answered: number;
  fate: Fate;
}

/**
 * Reads the messages of both sides (protocol 3.0): what a client sends up to a Sync or as a simple query is one unit, which the server ends
 * with ReadyForQuery. So a transaction can be held between any two of its statements, and before its COMMIT, by the real driver.
 */
export async function openHeldWire(databaseUrl: string): Promise<HeldWire> {
  let free = true;
  let deadlocks = 0;

  function send(pair: Pair): void {
    const unit = pair.units.shift();
    if (unit === undefined) return;
    pair.sent += 1;
    pair.behind.write(unit.data);
  }

  const relay = await openPostgresRelay(databaseUrl, (front, behind): Pair => {
    const pair: Pair = { front, behind, statements: new Map(), units: [], pid: 0, sent: 1, answered: 0, fate: 'passes' };
    const asked = readMessages(true, (type, message, data) => {
      // The first message has no type: it begins the session, and its answer ends with ReadyForQuery as well.
      if (type === null || type === 'X') return void behind.write(data);
      pair.units.push({ text: textOf(type, message, pair.statements), data });
      if (free) send(pair);
    });
    const told = readMessages(false, (type, message) => {
      if (type === 'K') pair.pid = message.readInt32BE(5);
      if (type === 'E' && message.includes('40P01')) deadlocks += 1;
      if (type !== 'Z') return;
      pair.answered += 1;
      if (pair.fate === 'answer lost' && pair.answered === pair.sent) front.destroy();
    });
    front.on('data', asked);
    behind.on('data', (data) => {
      if (pair.fate === 'passes') front.write(data);
      told(data);
    });
    return pair;
  });
  const holding = () => [...relay.pairs].find((pair) => pair.sent === pair.answered && pair.units.length > 0);

  return {
    url: relay.url,
    get held() {
      return holding()?.units[0]?.text ?? null;
    },
    get unanswered() {
      return [...relay.pairs].find((pair) => pair.sent > pair.answered)?.pid ?? null;
    },
    get deadlocks() {
      return deadlocks;
    },
    get free() {
      return free;
    },
    set free(value) {
      free = value;
      if (free) for (const pair of relay.pairs) while (pair.units.length > 0) send(pair);
    },
    pass(fate) {
      const pair = holding();
      if (pair === undefined) throw new Error('nothing waits to be let through');
      if (fate === 'never arrives') return void pair.front.destroy();
      pair.fate = fate;
      send(pair);
    },
    close: relay.close,
  };
}

type OnUnit = (type: string | null, message: Buffer, data: Buffer) => void;

/** Calls back with each message of a server; of a client with each unit, its first message, and all of its bytes. */
function readMessages(ofClient: boolean, onUnit: OnUnit): (data: Buffer) => void {
  let rest = Buffer.alloc(0);
  let unit: Buffer[] = [];
  let begun = !ofClient;
  return (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      const head = begun ? 1 : 0;
      if (rest.length < head + 4) return;
      const length = head + rest.readInt32BE(head);
      if (rest.length < length) return;
      const message = rest.subarray(0, length);
      rest = rest.subarray(length);
      if (!begun) {
        begun = true;
        onUnit(null, message, message);
        continue;
      }
      const type = String.fromCharCode(message[0] ?? 0);
      unit.push(message);
      if (ofClient && !'SQX'.includes(type)) continue;
      const all = Buffer.concat(unit);
      unit = [];
      onUnit(type, ofClient ? all : message, all);
    }
  };
}

/** The beginning of the text of a unit: that of its simple query, of what it parses, or of what was parsed under the name that it binds. */
function textOf(type: string, unit: Buffer, statements: Map<string, string>): string {
  const cut = (text: string) => text.replace(/\s+/g, ' ').slice(0, 100);
  const zeroFrom = (at: number) => unit.indexOf(0, at);
  if (type === 'Q') return cut(unit.toString('utf8', 5, zeroFrom(5)));
  for (let at = 0; at < unit.length; at += 1 + unit.readInt32BE(at + 1)) {
    const kind = String.fromCharCode(unit[at] ?? 0);
    const first = unit.toString('utf8', at + 5, zeroFrom(at + 5));
    const from = zeroFrom(at + 5) + 1;
    const second = unit.toString('utf8', from, zeroFrom(from));
    if (kind === 'P') statements.set(first, second);
    if (kind === 'B') return cut(statements.get(second) ?? second);
  }
  return type;
}
