import { BinaryReader, BinaryWriter, ModuleRefused, readSections, type Section, writeSections } from './binary.ts';
import { readInstruction, readValueType } from './instructions.ts';
import { meterCode } from './meter.ts';

export interface Confinement {
  /** Pages of 64 KiB. */
  readonly maxPages: number;
  /** Entries of one table. */
  readonly maxTableEntries: number;
  readonly fuel: number;
}

export interface ConfinedModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The memory that it wants to be given, in pages; null when it has its own or none. */
  readonly importedPages: number | null;
}

/** A module that asks for more memory than there is for it, at once. */
export class MemoryRefused extends Error {}

/** Names under which the module gives what is ours; it may not use them itself. */
export const ownExports = { fuel: 'nexus:fuel', refused: 'nexus:refused', start: 'nexus:start' } as const;

const ids = { type: 1, import: 2, table: 4, memory: 5, global: 6, export: 7, start: 8, code: 10 } as const;
/** The order in which sections stand. */
const order = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];
const maxTables = 8;
const maxFunctionImports = 1_000;
const maxExports = 10_000;
const functionType = 0x60;
const i32 = 0x7f;
const i64 = 0x7e;

/**
 * The module with its limits in it: its memory and tables cannot grow beyond them, and it stops when its fuel is spent, at the same place
 * each time. Its start function becomes an export, so that it runs like any other call. Throws {@link ModuleRefused} and
 * {@link MemoryRefused}; whether what remains is valid is for the engine to say.
 */
export function confineModule(binary: Uint8Array, confinement: Confinement): ConfinedModule {
  const sections = new Map<number, Uint8Array>();
  for (const { id, body } of readSections(binary)) {
    if (!order.includes(id)) throw new ModuleRefused(`it has a section ${id}, which is not taken`);
    if (sections.has(id)) throw new ModuleRefused(`it has two sections ${id}`);
    sections.set(id, body);
  }
  readSection(sections.get(ids.type), readFunctionType);
  const imports = readImports(sections.get(ids.import), confinement);
  if (imports.body !== null) sections.set(ids.import, imports.body);
  const ownMemories = rewrite(sections, ids.memory, (reader, writer) => limitMemory(reader, writer, confinement));
  if (ownMemories + (imports.pages === null ? 0 : 1) > 1) throw new ModuleRefused('it has more than one memory');
  const tables = rewrite(sections, ids.table, (reader, writer) => limitTable(reader, writer, confinement));
  if (tables > maxTables) throw new ModuleRefused(`it has more than ${maxTables} tables`);
  const globals = imports.globals + readSection(sections.get(ids.global), readGlobal);
  const own = { fuel: globals, refused: globals + 1, scratch: globals + 2 };
  sections.set(ids.global, addGlobals(sections.get(ids.global), confinement.fuel));
  const start = sections.get(ids.start);
  sections.set(
    ids.export,
    addExports(sections.get(ids.export), { ...own, start: start === undefined ? null : new BinaryReader(start).number() }),
  );
  sections.delete(ids.start);
  const code = sections.get(ids.code);
  if (code !== undefined) sections.set(ids.code, meterCode(code, own));
  const ordered = order.flatMap((id): Section[] => {
    const body = sections.get(id);
    return body === undefined ? [] : [{ id, body }];
  });
  return { bytes: writeSections(ordered), importedPages: imports.pages };
}

/** Reads a list of things to its end: what is added behind it must be what the engine finds there. Gives their number. */
function readSection(body: Uint8Array | undefined, each: (reader: BinaryReader) => void): number {
  if (body === undefined) return 0;
  const reader = new BinaryReader(body);
  const count = reader.number();
  for (let index = 0; index < count; index++) each(reader);
  if (!reader.done) throw new ModuleRefused('a section has more in it than it says');
  return count;
}

/** Of the kinds of types only that of functions: the others take memory that nobody counts. */
function readFunctionType(reader: BinaryReader): void {
  if (reader.byte() !== functionType) throw new ModuleRefused('it has a type that is none of a function, which is not taken');
  for (const _part of ['parameters', 'results']) for (let values = reader.number(); values > 0; values--) readValueType(reader);
}

function readGlobal(reader: BinaryReader): void {
  readValueType(reader);
  reader.byte();
  for (let kind = readInstruction(reader); kind !== 'end'; kind = readInstruction(reader)) {
    if (kind === 'global') reader.skipNumber();
    else if (kind !== 'plain') throw new ModuleRefused('it has a global that is more than a value');
  }
}

/** Writes a list of things anew, one by one. Gives their number. */
function rewrite(sections: Map<number, Uint8Array>, id: number, each: (reader: BinaryReader, writer: BinaryWriter) => void): number {
  const body = sections.get(id);
  if (body === undefined) return 0;
  const reader = new BinaryReader(body);
  const writer = new BinaryWriter();
  const count = reader.number();
  writer.number(count);
  for (let index = 0; index < count; index++) each(reader, writer);
  if (!reader.done) throw new ModuleRefused('a section has more in it than it says');
  sections.set(id, writer.view());
  return count;
}

interface Imports {
  readonly body: Uint8Array | null;
  readonly globals: number;
  readonly pages: number | null;
}

function readImports(body: Uint8Array | undefined, confinement: Confinement): Imports {
  if (body === undefined) return { body: null, globals: 0, pages: null };
  const reader = new BinaryReader(body);
  const writer = new BinaryWriter();
  const count = reader.number();
  if (count > maxFunctionImports) throw new ModuleRefused(`it imports more than ${maxFunctionImports} things`);
  writer.number(count);
  let pages: number | null = null;
  for (let index = 0; index < count; index++) {
    const module = reader.name();
    const name = reader.name();
    const kind = reader.byte();
    writer.name(module).name(name).byte(kind);
    if (kind === 0) writer.number(reader.number());
    else if (kind === 2) {
      if (pages !== null) throw new ModuleRefused('it has more than one memory');
      pages = limitMemory(reader, writer, confinement);
    } else throw new ModuleRefused(`it imports ${shown(module, name)}, which is neither a function nor a memory`);
  }
  return { body: writer.view(), globals: 0, pages };
}

function shown(module: string, name: string): string {
  return JSON.stringify(`${module}.${name}`.slice(0, 100));
}

/** Gives the pages that it begins with. */
function limitMemory(reader: BinaryReader, writer: BinaryWriter, { maxPages }: Confinement): number {
  const { minimum, maximum } = readLimits(reader, 'memory');
  if (minimum > maxPages) throw new MemoryRefused(`it wants ${minimum * 64} KiB of memory at once; there are ${maxPages * 64} for it`);
  writer
    .byte(1)
    .number(minimum)
    .number(Math.min(maximum ?? maxPages, maxPages));
  return minimum;
}

function limitTable(reader: BinaryReader, writer: BinaryWriter, { maxTableEntries }: Confinement): void {
  const type = reader.byte();
  if (type !== 0x70 && type !== 0x6f) throw new ModuleRefused('it has a table of a kind that is not taken');
  const { minimum, maximum } = readLimits(reader, 'table');
  if (minimum > maxTableEntries) throw new MemoryRefused(`it wants a table of ${minimum} entries; there are ${maxTableEntries} for it`);
  writer
    .byte(type)
    .byte(1)
    .number(minimum)
    .number(Math.min(maximum ?? maxTableEntries, maxTableEntries));
}

function readLimits(reader: BinaryReader, what: string): { readonly minimum: number; readonly maximum: number | null } {
  const flags = reader.byte();
  if (flags > 1) throw new ModuleRefused(`its ${what} is shared between threads or of 64 bits, which is not taken`);
  const minimum = reader.number();
  return { minimum, maximum: flags === 1 ? reader.number() : null };
}

function addGlobals(body: Uint8Array | undefined, fuel: number): Uint8Array {
  const writer = new BinaryWriter().number(thingsIn(body) + 3).raw(afterCount(body));
  writer.byte(i64).byte(1).byte(0x42).signed(BigInt(fuel)).byte(0x0b);
  for (let index = 0; index < 2; index++) writer.raw([i32, 1, 0x41, 0, 0x0b]);
  return writer.view();
}

function thingsIn(body: Uint8Array | undefined): number {
  return body === undefined ? 0 : new BinaryReader(body).number();
}

function afterCount(body: Uint8Array | undefined): Uint8Array {
  if (body === undefined) return new Uint8Array();
  const reader = new BinaryReader(body);
  reader.number();
  return body.subarray(reader.at);
}

interface OwnIndices {
  readonly fuel: number;
  readonly refused: number;
  readonly start: number | null;
}

function addExports(body: Uint8Array | undefined, { fuel, refused, start }: OwnIndices): Uint8Array {
  if (thingsIn(body) > maxExports) throw new ModuleRefused(`it exports more than ${maxExports} things`);
  const count = readSection(body, (reader) => {
    const name = reader.name();
    if (name.startsWith('nexus:'))
      throw new ModuleRefused(`it exports ${JSON.stringify(name.slice(0, 100))}; names with nexus: are not its own`);
    const kind = reader.byte();
    const target = reader.number();
    if (kind === 3 && target >= fuel) throw new ModuleRefused('it exports a global that it does not have');
  });
  const writer = new BinaryWriter().number(count + (start === null ? 2 : 3)).raw(afterCount(body));
  writer.name(ownExports.fuel).byte(3).number(fuel);
  writer.name(ownExports.refused).byte(3).number(refused);
  if (start !== null) writer.name(ownExports.start).byte(0).number(start);
  return writer.view();
}
