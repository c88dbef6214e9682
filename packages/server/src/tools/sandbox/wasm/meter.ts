import { BinaryReader, BinaryWriter, ModuleRefused } from './binary.ts';
import { readInstruction, readValueType } from './instructions.ts';

/** Globals of ours, which lie behind those of the module so that it cannot name them. */
export interface MeterGlobals {
  /** 64 bits: what is left to spend; less than nothing once it is used up. */
  readonly fuel: number;
  /** 32 bits: 1 once a memory or table was refused to grow. */
  readonly refused: number;
  /** 32 bits: holds a number for the length of a few instructions. */
  readonly scratch: number;
}

/** Bytes or entries that a bulk instruction works on for one unit. */
const bulkShift = 4;
const maxLocals = 50_000;

/** A straight stretch of code: what is directly in a function or in a loop, and in no loop inside. */
interface Stretch {
  readonly at: number;
  cost: number;
}

/**
 * Adds the counting to a code section. What is spent at the entry of a function, and each time at the head of a loop, is the number of
 * instructions that lie directly in it. Inside such a stretch control only goes forward, so that no more instructions run than were
 * paid for, whatever way is taken; and the count depends on nothing but the way.
 */
export function meterCode(body: Uint8Array, globals: MeterGlobals): Uint8Array {
  const reader = new BinaryReader(body);
  const writer = new BinaryWriter();
  const count = reader.number();
  writer.number(count);
  for (let index = 0; index < count; index++) {
    const metered = meterFunction(reader.take(reader.number()), globals);
    writer.number(metered.length).raw(metered);
  }
  if (!reader.done) throw new ModuleRefused('its code has more in it than it says');
  return writer.view();
}

interface Insertion {
  readonly at: number;
  readonly bytes: Uint8Array;
}

function meterFunction(body: Uint8Array, globals: MeterGlobals): Uint8Array {
  const reader = new BinaryReader(body);
  skipLocals(reader);
  const entry: Stretch = { at: reader.at, cost: 1 };
  const stretches = [entry];
  const insertions: Insertion[] = [];
  /** The stretch that goes on after the end of each open block; a loop goes back to the one around it. */
  const open: Stretch[] = [];
  let current = entry;
  for (let ended = false; !ended; ) {
    const start = reader.at;
    const kind = readInstruction(reader);
    current.cost += 1;
    if (kind === 'global') requireOwn(reader, globals);
    else if (kind === 'block') open.push(current);
    else if (kind === 'loop') {
      open.push(current);
      current = { at: reader.at, cost: 1 };
      stretches.push(current);
    } else if (kind === 'end') {
      const outer = open.pop();
      if (outer === undefined) ended = true;
      else current = outer;
    } else if (kind !== 'plain') {
      if (kind !== 'grow') insertions.push({ at: start, bytes: spendTop(globals) });
      if (kind !== 'bulk') insertions.push({ at: reader.at, bytes: noteRefusal(globals) });
    }
  }
  if (!reader.done) throw new ModuleRefused('a function in it goes on after its end');
  insertions.push(...stretches.map(({ at, cost }) => ({ at, bytes: spend(globals, cost) })));
  insertions.sort((one, other) => one.at - other.at);
  const writer = new BinaryWriter();
  let at = 0;
  for (const insertion of insertions) {
    writer.raw(body.subarray(at, insertion.at)).raw(insertion.bytes);
    at = insertion.at;
  }
  return writer.raw(body.subarray(at)).view();
}

function skipLocals(reader: BinaryReader): void {
  let total = 0;
  for (let groups = reader.number(); groups > 0; groups--) {
    total += reader.number();
    readValueType(reader);
    if (total > maxLocals) throw new ModuleRefused(`a function in it has more than ${maxLocals} locals`);
  }
}

function requireOwn(reader: BinaryReader, { fuel, refused, scratch }: MeterGlobals): void {
  if (reader.number() >= Math.min(fuel, refused, scratch)) throw new ModuleRefused('it names a global that it does not have');
}

/** `fuel -= cost; if (fuel < 0) trap`. It leaves the stack as it is. */
function spend(globals: MeterGlobals, cost: number): Uint8Array {
  const writer = new BinaryWriter();
  writer.byte(0x23).number(globals.fuel).byte(0x42).signed(BigInt(cost)).byte(0x7d).byte(0x24).number(globals.fuel);
  return trapWhenSpent(writer, globals).view();
}

/** The same for a count on top of the stack, which stays there. */
function spendTop({ fuel, scratch, refused }: MeterGlobals): Uint8Array {
  const writer = new BinaryWriter().byte(0x24).number(scratch);
  writer.byte(0x23).number(fuel).byte(0x23).number(scratch);
  writer.byte(0x41).number(bulkShift).byte(0x76).byte(0xad).byte(0x7d).byte(0x24).number(fuel);
  return trapWhenSpent(writer, { fuel, scratch, refused }).byte(0x23).number(scratch).view();
}

function trapWhenSpent(writer: BinaryWriter, { fuel }: MeterGlobals): BinaryWriter {
  return writer.byte(0x23).number(fuel).raw([0x42, 0x00, 0x53, 0x04, 0x40, 0x00, 0x0b]);
}

/** After a growth: `if (result === -1) refused = 1`. The result stays. */
function noteRefusal({ refused, scratch }: MeterGlobals): Uint8Array {
  const writer = new BinaryWriter().byte(0x24).number(scratch).byte(0x23).number(scratch);
  writer.raw([0x41, 0x7f, 0x46, 0x04, 0x40, 0x41, 0x01]).byte(0x24).number(refused).byte(0x0b);
  return writer.byte(0x23).number(scratch).view();
}
