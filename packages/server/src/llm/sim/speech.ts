import type { InboundRequest } from '#llm/dialects';
import { type DoneCall, pathOf, type SimTask } from './conversation.ts';

/** The words of a final answer. Every figure and quotation in it comes from a tool result of the conversation. */
export function composeAnswer(request: InboundRequest, task: SimTask): string {
  const done = task.done.filter((call) => call.output !== null);
  if (done.length === 0) return withoutTools(request, task);
  const sentences = done.flatMap((call) =>
    call.isError ? [`${call.name} did not work: ${errorText(call.output ?? '')}`] : describe(call, task),
  );
  return [...new Set(sentences)].join('\n');
}

function withoutTools(request: InboundRequest, task: SimTask): string {
  const text = task.text.trim();
  const images = request.turns.findLast((turn) => turn.role === 'user')?.images ?? 0;
  if (images > 0) return `I am a simulator and cannot see; the message has ${images === 1 ? 'an image' : `${images} images`}.`;
  if (text === '' || /^(hi|hello|hey|good (morning|day|evening)|greetings)\b/i.test(text)) {
    return 'Hello! I am the Nexus simulator, a stand-in for a language model. Ask me to list, read or compute over the files of this session.';
  }
  if (/\b(who|what) are you\b/i.test(text))
    return 'I am the Nexus simulator: a deterministic stand-in that speaks the wire protocols of real providers.';
  return `This is the simulator, so take it as a stand-in for an answer. You asked: ${firstLine(text)}`;
}

function describe(call: DoneCall, task: SimTask): string[] {
  const output = call.output ?? '';
  switch (call.name) {
    case 'fs_list': {
      const files = output.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('['));
      if (task.done.some((other) => other.name === 'fs_read')) return [];
      return [
        `There are ${files.length} entries: ${files
          .slice(0, 20)
          .map((line) => line.split('\t')[0])
          .join(', ')}.`,
      ];
    }
    case 'fs_read': {
      if (task.done.some((other) => other.name === 'code_js' && !other.isError)) return [];
      const lines = output.split('\n');
      return [`${pathOf(call)} has ${lines.length} lines and begins: "${firstLine(output)}"`];
    }
    case 'code_js':
      return figures(output);
    case 'fs_write':
      return [`I wrote ${pathOf(call)}.`];
    case 'fs_search':
      return [`The search found: ${output.split('\n').slice(0, 5).join('; ').slice(0, 600)}`];
    case 'ask_human':
      return [`The person answered: ${firstLine(output)}`];
    case 'http_fetch':
      return [
        `The page says: "${firstLine(
          output
            .slice(0, 5_000)
            .replace(/<[^>]*>/g, ' ')
            .trim(),
        )}" (${output.length} characters).`,
      ];
    default:
      return [
        call.name.startsWith('agent_')
          ? `${call.name.slice(6)} reports: ${output.slice(0, 2_000)}`
          : `${call.name} gave: ${output.slice(0, 600)}`,
      ];
  }
}

interface Column {
  readonly column: string;
  readonly count: number;
  readonly sum: number;
  readonly mean: number | null;
  readonly median: number | null;
  readonly min: { readonly label: string; readonly value: number } | null;
  readonly max: { readonly label: string; readonly value: number } | null;
}

/** The result of the program that the rules wrote, in words; anything else is quoted. */
function figures(output: string): string[] {
  const tables = readTables(output);
  if (tables === null) return [`The computation gave: ${output.slice(0, 1_000)}`];
  return tables.flatMap((table) =>
    table.columns.map((column) => {
      const ends = column.min === null || column.max === null ? '' : `, from ${named(column.min)} to ${named(column.max)}`;
      const rows = `${column.count} rows of ${table.file}`;
      return `${column.column} over ${rows}: sum ${column.sum}, mean ${column.mean}, median ${column.median}${ends}.`;
    }),
  );
}

function named(end: { readonly label: string; readonly value: number }): string {
  return end.label === '' ? String(end.value) : `${end.value} (${end.label})`;
}

/** Behind the value stand what was printed and a note, which end in few brackets. */
const mostTries = 50;

function readTables(output: string): { file: string; columns: Column[] }[] | null {
  const start = output.search(/[[{]/);
  if (start === -1) return null;
  let tries = 0;
  for (
    let end = output.length;
    end > start && tries < mostTries;
    end = Math.max(output.lastIndexOf(']', end - 2), output.lastIndexOf('}', end - 2)) + 1
  ) {
    tries += 1;
    try {
      let value: unknown = JSON.parse(output.slice(start, end));
      if (!Array.isArray(value) && typeof value === 'object' && value !== null) value = Object.values(value).find(Array.isArray);
      const fits =
        Array.isArray(value) &&
        value.every((item) => typeof item === 'object' && item !== null && 'file' in item && Array.isArray(item.columns));
      return fits ? (value as { file: string; columns: Column[] }[]) : null; // the shape that csvProgram gives, checked above
    } catch {
      // not the end of the value; try the bracket before
    }
  }
  return null;
}

/** The message of a failure that is given as JSON, as this service gives it. */
function errorText(output: string): string {
  const message = /^(?:error: )?\{"error":.*?"message":("(?:[^"\\]|\\.)*")/is.exec(output)?.[1];
  return firstLine(message === undefined ? output : String(JSON.parse(message)));
}

function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? '';
  return line.trim().slice(0, 200);
}
