import type { AssistantPart, GivenBy } from '@nexus-agent/protocol';
import { isTooDeep } from '#core';
import type { ToolSpec } from '#llm/contract';
import { asRecord, asString } from './json.ts';
import { renamed, wireMember, wireName } from './normalise.ts';
import type { StreamContext, StreamDecoder } from './upstream.ts';

/** A member of a call that some servers of the OpenAI format give and want back: Gemini's proof of its thinking. */
export const opaqueMember = 'extra_content';
/** A member of an answer that gateways give and want back: the thinking of whoever stands behind them, in pieces, with proofs. */
const detailsMember = 'reasoning_details';

/** As they stand in an event. */
const opaqueName = `"${opaqueMember}"`;
const detailsName = `"${detailsMember}"`;

const reasoningField = /"(reasoning(?:_content|_text)?)"\s*:\s*"[^"]/;

/**
 * A decoder whose answers say who gave their reasoning and calls, with what must go back with them, and call the tools by the
 * names that they have here: those of the tools of its own request, as another one may name something else in the same way.
 *
 * @param membersOf the members of a tool's input, where the wire has other names for some
 */
export function markGiven(
  create: (context: StreamContext) => StreamDecoder,
  membersOf: (tool: ToolSpec) => readonly string[] = () => [],
): (context: StreamContext) => StreamDecoder {
  return (context) => {
    const decoder = create(context);
    const { tools = [] } = context;
    const toolNames = ownNames(
      tools.map(({ name }) => name),
      wireName,
    );
    const members = ownNames(tools.flatMap(membersOf), wireMember);
    const givenBy: GivenBy = { provider: context.provider, model: context.model };
    const opaque: OpaqueOfCall[] = [];
    const details: Detail[] = [];
    let field: string | undefined;

    function mark(part: AssistantPart): AssistantPart {
      if (part.type === 'text') return part;
      if (part.type === 'reasoning') return { ...part, ...(field === undefined ? {} : { field }), givenBy };
      const at = opaque.findIndex(({ id, name }) => (id === '' ? name === part.name : id === part.providerCallId));
      const [found] = at === -1 ? [] : opaque.splice(at, 1);
      const name = toolNames.get(part.name) ?? part.name;
      const given = members.size === 0 ? null : asRecord(part.input);
      const input = given === null ? part.input : renamed(given, (member) => members.get(member) ?? member);
      return { ...part, name, input, ...(found === undefined ? {} : { opaque: found.members, givenBy }) };
    }

    function look(data: string): void {
      if (data.includes(opaqueName) && !isTooDeep(data)) opaque.push(...readOpaque(data));
      if (!data.includes('"reasoning')) return; // nor the details of it
      field ??= reasoningField.exec(data)?.[1];
      if (data.includes(detailsName) && !isTooDeep(data)) for (const detail of readDetails(data)) addDetail(details, detail);
    }

    function withDetails(content: readonly AssistantPart[]): readonly AssistantPart[] {
      if (details.length === 0) return content;
      const at = content.findIndex(({ type }) => type === 'reasoning');
      const opaqueParts = { opaque: { [detailsMember]: details } };
      if (at === -1) return [{ type: 'reasoning', text: '', ...opaqueParts }, ...content];
      return content.map((part, index) => (index === at ? { ...part, ...opaqueParts } : part));
    }

    return {
      event(name, data) {
        decoder.event(name, data);
        look(data);
      },
      document(body) {
        decoder.document(body);
        look(JSON.stringify(body));
      },
      isFinished: () => decoder.isFinished(),
      answer() {
        const answer = decoder.answer();
        return { ...answer, content: withDetails(answer.content).map(mark) };
      },
      partial() {
        const answer = decoder.partial();
        return { ...answer, content: withDetails(answer.content).map(mark) };
      },
      usage: () => decoder.usage(),
      isAccounted: () => decoder.isAccounted(),
      hasBegun: () => decoder.hasBegun(),
      streamedTokens: () => decoder.streamedTokens(),
    };
  };
}

/** Our names by those on the wire, where they differ. */
export function ownNames(names: readonly string[], onWire: (own: string) => string): ReadonlyMap<string, string> {
  return new Map(names.flatMap((own) => (onWire(own) === own ? [] : [[onWire(own), own]])));
}

interface OpaqueOfCall {
  readonly id: string;
  readonly name: string;
  readonly members: Record<string, unknown>;
}

/** What the message, or the piece of it, in a chunk says. */
function messageIn(data: string): Record<string, unknown> | null {
  const choices = asRecord(JSON.parse(data))?.choices;
  const choice = asRecord(Array.isArray(choices) ? choices[0] : null);
  return asRecord(choice?.delta ?? choice?.message);
}

function readOpaque(data: string): OpaqueOfCall[] {
  const calls = messageIn(data)?.tool_calls;
  return (Array.isArray(calls) ? calls : []).flatMap((item) => {
    const call = asRecord(item);
    const value = asRecord(call?.[opaqueMember]);
    if (call === null || value === null) return [];
    return [{ id: asString(call.id), name: asString(asRecord(call.function)?.name), members: { [opaqueMember]: value } }];
  });
}

type Detail = Record<string, unknown>;

function readDetails(data: string): Detail[] {
  const list = messageIn(data)?.[detailsMember];
  return (Array.isArray(list) ? list : []).map((item) => asRecord(item)).filter((item) => item !== null);
}

/** Pieces of one text follow one another under one type and index. */
function addDetail(details: Detail[], piece: Detail): void {
  const last = details.at(-1);
  const member = typeof piece.text === 'string' ? 'text' : 'summary';
  const goesOn = last !== undefined && last.type === piece.type && last.index === piece.index && typeof last[member] === 'string';
  if (!goesOn || typeof piece[member] !== 'string') {
    details.push({ ...piece });
    return;
  }
  const said = Object.entries(piece).filter(([, value]) => value !== null);
  Object.assign(last, Object.fromEntries(said), { [member]: `${String(last[member])}${piece[member]}` });
}
