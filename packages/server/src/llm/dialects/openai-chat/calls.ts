import type { Assembler, ToolCallDraft } from '../assembler.ts';
import { argumentText, asIndex, asRecord, asString, carriesSomething, createValueScanner, isSameJson } from '../json.ts';
import { notUnderstood, type StreamContext } from '../upstream.ts';

/** Puts the pieces of tool calls together. */
export interface CallPieces {
  /** @param fragment one of `tool_calls`, or an object of its shape */
  add(fragment: Readonly<Record<string, unknown>>, responseId: string): void;
  /** Adds what the pieces lack of the calls of a message as it is so far; false when it says something else than they do. */
  addRest(fragments: readonly Fragment[], responseId: string): boolean;
}

type Fragment = Readonly<Record<string, unknown>>;

interface OpenCall {
  readonly draft: ToolCallDraft;
  readonly id: string;
  readonly scanner: ReturnType<typeof createValueScanner>;
  /** Its name came once more after its arguments were whole: more arguments are those of another call. */
  named: boolean;
  /** The last piece of its arguments, while each began with the whole of the one before it; null since one did not. */
  growing: string | null;
}

/** Where servers put the arguments of a call. */
const argumentMembers = ['arguments', 'parameters', 'input', 'args'];

/**
 * What belongs together is told by index, id and name together, since servers repeat, change or leave out each of them. A piece
 * without a name continues a call, and a new name opens one. The same name again continues a call whose arguments are not
 * whole, and opens another after them. A name that goes on in the same call, before its arguments, is a part of it.
 */
export function createCallPieces(context: StreamContext, assembler: Assembler): CallPieces {
  const calls: OpenCall[] = [];
  const byBoth = new Map<string, OpenCall>();
  const byIndex = new Map<number, OpenCall>();
  const byId = new Map<string, OpenCall>();
  let last: OpenCall | null = null;

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
    const whole = call.scanner.isWhole();
    if (name === '') return !whole || !((elsewhere && foreignId) || (call.named && piece.trim() !== ''));
    if (call.draft.name === '') return !elsewhere && !(foreignId && whole);
    if (name !== call.draft.name) return isRestOfName(call, index, id);
    if (elsewhere && (id === '' || foreignId || whole)) return false;
    return !whole || (!foreignId && piece.trim() === '');
  }

  /** Only a call that is known by its id, and goes on under it, has a name in pieces: other servers number all calls alike. */
  function isRestOfName(call: OpenCall, index: number | undefined, id: string): boolean {
    const placed = index === undefined || byIndex.get(index) === call;
    const named = id === '' ? call.id !== '' && index !== undefined : id === call.id;
    return placed && named && call.draft.arguments === '';
  }

  function append(call: OpenCall, piece: string): void {
    if (piece === '') return;
    const { draft, scanner } = call;
    // Some servers begin with arguments that stand for none yet, or end with all of them once more.
    if (draft.arguments !== '' && draft.arguments.length <= longestNone && isNone(draft.arguments)) {
      draft.arguments = '';
      call.growing = '';
      scanner.reset();
    } else if (scanner.isWhole() && (isNone(piece) || isSameJson(piece, draft.arguments))) return;
    call.growing = call.growing !== null && piece.startsWith(call.growing) ? piece : null;
    draft.otherwise = call.growing ?? '';
    assembler.addArguments(draft, piece);
    scanner.add(piece);
    context.onCallText?.(piece);
  }

  function open(id: string, name: string, responseId: string): OpenCall {
    const made = id === '' ? `call_${responseId.slice(0, 40)}_${calls.length}` : id;
    const call = { draft: assembler.toolCall(made, name), id, scanner: createValueScanner(), named: false, growing: '' };
    calls.push(call);
    context.onCallText?.(name);
    return call;
  }

  function read(fragment: Fragment) {
    const called = asRecord(fragment.function) ?? fragment; // some servers leave the level out
    const name = asString(called.name);
    const given = argumentMembers.map((member) => called[member]).find((value) => carriesSomething(value) || value === 0);
    const piece = argumentText(given);
    const id = asString(fragment.id);
    const strange =
      name === '' && piece === '' && Object.entries(fragment).find(([key, value]) => !plainMembers.has(key) && carriesSomething(value));
    if (strange) throw notUnderstood(context, 'a tool call of a kind that is not known');
    return { index: asIndex(fragment.index), id, name, piece };
  }

  return {
    add(fragment, responseId) {
      const { index, id, name, piece } = read(fragment);
      const found = find(index, id);
      let call = found;
      if (call === null || !continues(call, name, index, id, piece)) {
        call = open(id, name === '' && found?.named === true ? found.draft.name : name, responseId);
      } else if (name !== '') {
        // The rest of a name, or all of it once more.
        assembler.rename(call.draft, name.startsWith(call.draft.name) ? name : call.draft.name + name);
        call.named = call.scanner.isWhole();
      }
      remember(call, index, id);
      append(call, piece);
    },
    addRest(fragments, responseId) {
      return fragments.every((fragment, place) => {
        const { id, name, piece } = read(fragment);
        const call = calls[place] ?? open(id, name, responseId);
        const { draft } = call;
        if (name !== '' && draft.name !== name) return false;
        if (isNone(piece) || isSameJson(piece, draft.arguments)) return true;
        if (!piece.startsWith(draft.arguments)) return false;
        append(call, piece.slice(draft.arguments.length));
        return true;
      });
    },
  };
}

/** What a piece of a call may have besides its name and arguments. */
const plainMembers: ReadonlySet<string> = new Set([
  'index',
  'id',
  'type',
  'function',
  'name',
  'extra_content',
  'provider_specific_fields',
  'thought_signature',
]);

/** To look at longer ones piece by piece would take time by the square of their length. */
const longestNone = 24;

/** Arguments that stand for none. */
function isNone(piece: string): boolean {
  return /^\s{0,9}(\{\}|null)?\s{0,9}$/.test(piece);
}
