import type { Assembler, ToolCallDraft } from '../assembler.ts';
import { argumentText, asCount, asRecord, asString, createValueScanner } from '../json.ts';

/** Puts the pieces of tool calls together. */
export interface CallPieces {
  /** @param fragment one of `tool_calls`, or an object of its shape */
  add(fragment: Readonly<Record<string, unknown>>, responseId: string): void;
}

interface OpenCall {
  readonly draft: ToolCallDraft;
  readonly id: string;
  readonly scanner: ReturnType<typeof createValueScanner>;
  /** Its name came once more after its arguments were whole: more arguments are those of another call. */
  named: boolean;
}

/**
 * What belongs together is told by index, id and name together, since servers repeat, change or leave out each of them. A piece
 * without a name continues a call, and a new name opens one. The same name again continues a call whose arguments are not
 * whole, and opens another after them.
 */
export function createCallPieces(assembler: Assembler, onWritten?: (piece: string) => void): CallPieces {
  const byBoth = new Map<string, OpenCall>();
  const byIndex = new Map<number, OpenCall>();
  const byId = new Map<string, OpenCall>();
  let last: OpenCall | null = null;
  let count = 0;

  function remember(call: OpenCall, index: number | undefined, id: string): void {
    last = call;
    if (index !== undefined) byIndex.set(index, call);
    if (id !== '') byId.set(id, call);
    byBoth.set(`${index} ${id}`, call);
  }

  function find(index: number | undefined, id: string): OpenCall | null {
    const exact = id === '' ? undefined : byBoth.get(`${index} ${id}`);
    if (exact !== undefined) return exact;
    if (index !== undefined && byIndex.has(index)) return byIndex.get(index) ?? null;
    return (id === '' ? undefined : byId.get(id)) ?? last;
  }

  /** Whether a piece goes on with a call that its index and id may mean. */
  function continues(call: OpenCall, name: string, index: number | undefined, id: string, piece: string): boolean {
    const elsewhere = index !== undefined && byIndex.get(index) !== call && byBoth.get(`${index} ${id}`) !== call;
    const foreignId = id !== '' && byId.get(id) !== call && id !== call.id;
    const { whole } = call.scanner;
    if (name === '') return !whole || !((elsewhere && foreignId) || (call.named && piece.trim() !== ''));
    if (call.draft.name === '') return !elsewhere && !(foreignId && whole);
    if (name !== call.draft.name) return false;
    if (elsewhere && (id === '' || foreignId || whole)) return false;
    return !whole || (!foreignId && piece.trim() === '');
  }

  function append(call: OpenCall, piece: string): void {
    if (piece === '') return;
    const { draft, scanner } = call;
    // Some servers begin with arguments that stand for none yet, or end with all of them once more.
    if (/^\s{0,9}(\{\}|null)\s{0,9}$/.test(draft.arguments)) {
      draft.arguments = '';
      scanner.reset();
    } else if (scanner.whole && piece === draft.arguments) return;
    draft.arguments += piece;
    scanner.add(piece);
    onWritten?.(piece);
  }

  return {
    add(fragment, responseId) {
      const index = asCount(fragment.index);
      const id = asString(fragment.id);
      const called = asRecord(fragment.function) ?? fragment; // some servers leave the level out
      const name = asString(called.name);
      const piece = argumentText(called.arguments);
      const found = find(index, id);
      let call = found;
      if (call === null || !continues(call, name, index, id, piece)) {
        const made = id === '' ? `call_${responseId.slice(0, 40)}_${count}` : id;
        const ownName = name === '' && found?.named === true ? found.draft.name : name;
        count += 1;
        call = { draft: assembler.toolCall(made, ownName), id, scanner: createValueScanner(), named: false };
        onWritten?.(ownName);
      } else if (name !== '') {
        call.draft.name = name;
        call.named = call.scanner.whole;
      }
      remember(call, index, id);
      append(call, piece);
    },
  };
}
