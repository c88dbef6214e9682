import { type BinaryReader, ModuleRefused } from './binary.ts';

/** Numbers, vectors, and references to functions and to what is outside. Of one byte each, as no others are. */
const valueTypes: ReadonlySet<number> = new Set([0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f]);
const noValue = 0x40;

/** Past the type of a value. One that is not known here may be longer than it seems: what follows would be read otherwise by the engine. */
export function readValueType(reader: BinaryReader): void {
  const type = reader.byte();
  if (!valueTypes.has(type)) throw new ModuleRefused(`it has values of a type 0x${type.toString(16)}, which is not taken`);
}

/** Past what a block takes and gives: nothing, one value, or the number of a type, which is a signed one. */
function readBlockType(reader: BinaryReader): void {
  const first = reader.bytes[reader.at] ?? 0;
  if (first === noValue) reader.skip(1);
  else if (first > noValue && first < 0x80) readValueType(reader);
  else {
    reader.skipNumber();
    if (((reader.bytes[reader.at - 1] ?? 0) & 0x40) !== 0) throw new ModuleRefused('it has a block of a type that is not taken');
  }
}

/** Kinds of instruction that matter to whoever counts. `bulk`: its work is the number on top of the stack. */
export type InstructionKind = 'plain' | 'block' | 'loop' | 'end' | 'global' | 'grow' | 'bulk' | 'bulk-grow';

const multiMemory = 0x40;

function skipMemoryArgument(reader: BinaryReader): void {
  if ((reader.number() & multiMemory) !== 0) throw new ModuleRefused('it uses more than one memory');
  reader.skipNumber();
}

function skipNumbers(reader: BinaryReader, count: number): void {
  for (let index = 0; index < count; index++) reader.skipNumber();
}

function refuse(opcode: number, sub?: number): never {
  const shown = sub === undefined ? `0x${opcode.toString(16)}` : `0x${opcode.toString(16)} 0x${sub.toString(16)}`;
  throw new ModuleRefused(
    `it uses the instruction ${shown}, which is not taken; build for WebAssembly 2.0 without threads, exceptions, garbage collection and relaxed SIMD`,
  );
}

/** Reads one instruction with what belongs to it. Refuses all that is not known here, for it could not be counted. */
export function readInstruction(reader: BinaryReader): InstructionKind {
  const opcode = reader.byte();
  if (opcode >= 0x45 && opcode <= 0xc4) return 'plain';
  if (opcode >= 0x28 && opcode <= 0x3e) {
    skipMemoryArgument(reader);
    return 'plain';
  }
  switch (opcode) {
    case 0x00: // unreachable
    case 0x01: // nop
    case 0x05: // else
    case 0x0f: // return
    case 0x1a: // drop
    case 0x1b: // select
    case 0xd1: // ref.is_null
      return 'plain';
    case 0x0b:
      return 'end';
    case 0x02: // block
    case 0x04: // if
      readBlockType(reader);
      return 'block';
    case 0x03:
      readBlockType(reader);
      return 'loop';
    case 0x0c: // br
    case 0x0d: // br_if
    case 0x10: // call
    case 0x12: // return_call
    case 0x20: // local.get
    case 0x21: // local.set
    case 0x22: // local.tee
    case 0x25: // table.get
    case 0x26: // table.set
    case 0x3f: // memory.size
    case 0x41: // i32.const
    case 0x42: // i64.const
    case 0xd2: // ref.func
      reader.skipNumber();
      return 'plain';
    case 0xd0: // ref.null
      readValueType(reader);
      return 'plain';
    case 0x23: // global.get
    case 0x24: // global.set
      return 'global'; // the caller reads which
    case 0x40: // memory.grow
      reader.skipNumber();
      return 'grow';
    case 0x0e: // br_table
      skipNumbers(reader, reader.number() + 1);
      return 'plain';
    case 0x11: // call_indirect
    case 0x13: // return_call_indirect
      skipNumbers(reader, 2);
      return 'plain';
    case 0x1c: // select with types
      for (let types = reader.number(); types > 0; types--) readValueType(reader);
      return 'plain';
    case 0x43: // f32.const
      reader.skip(4);
      return 'plain';
    case 0x44: // f64.const
      reader.skip(8);
      return 'plain';
    case 0xfc:
      return readMiscellaneous(reader);
    case 0xfd:
      readVector(reader);
      return 'plain';
    default:
      return refuse(opcode);
  }
}

function readMiscellaneous(reader: BinaryReader): InstructionKind {
  const sub = reader.number();
  if (sub <= 7) return 'plain'; // saturating conversions
  switch (sub) {
    case 8: // memory.init
    case 10: // memory.copy
    case 12: // table.init
    case 14: // table.copy
      skipNumbers(reader, 2);
      return 'bulk';
    case 11: // memory.fill
    case 17: // table.fill
      reader.skipNumber();
      return 'bulk';
    case 15: // table.grow
      reader.skipNumber();
      return 'bulk-grow';
    case 9: // data.drop
    case 13: // elem.drop
    case 16: // table.size
      reader.skipNumber();
      return 'plain';
    default:
      return refuse(0xfc, sub);
  }
}

function readVector(reader: BinaryReader): void {
  const sub = reader.number();
  if (sub <= 11 || sub === 92 || sub === 93) skipMemoryArgument(reader);
  else if (sub === 12 || sub === 13) reader.skip(16);
  else if (sub >= 21 && sub <= 34) reader.skip(1);
  else if (sub >= 84 && sub <= 91) {
    skipMemoryArgument(reader);
    reader.skip(1);
  } else if (sub > 255) refuse(0xfd, sub); // relaxed: its results differ from one processor to another
}
