import { dictionary, type Message } from '@nexus-agent/protocol';
import type { Chronicle, Story, StoryEvent } from './chronicle.ts';
import { nameOfScript } from './script.ts';
import { Violation } from './violation.ts';

/**
 * What a model has to be told, said once more and in another way than the engine says it: from what was committed, and in which order.
 * A message is a line, so that what differs can be shown.
 */

interface Part {
  readonly type: string;
  readonly text?: string;
  readonly name?: string;
  readonly input?: unknown;
}

interface Result {
  readonly name: string;
  readonly output: string;
  readonly done: boolean;
}

/** `copied`: it came with what a fork began with. */
type Line = { readonly copied: boolean } & (
  | { readonly role: 'user'; readonly text: string }
  | { readonly role: 'assistant'; readonly text: string; readonly calls: readonly string[] }
  | { readonly role: 'tool'; readonly results: readonly Result[] }
);

const wordsIn = (content: unknown) =>
  (content as readonly Part[]).flatMap((part) => (part.type === 'text' ? [part.text ?? ''] : [])).join(''); // as the protocol has it
const callsOf = (content: unknown) =>
  (content as readonly Part[]).flatMap((part) => (part.type === 'tool_call' ? [`${part.name} ${JSON.stringify(part.input)}`] : []));

interface Turn {
  readonly lines: readonly Line[];
  readonly status: string;
}

const statuses: Readonly<Record<string, string>> = dictionary({
  'run.started': 'running',
  'run.waiting': 'waiting',
  'run.completed': 'completed',
  'run.failed': 'failed',
  'run.cancelled': 'cancelled',
});

/** What was said and done in a run by these events of it. */
function foldTurn(events: readonly StoryEvent[]): Turn {
  let lines: Line[] = [];
  let status = 'queued';
  let asked = 0;
  let requests = new Map<string, { readonly index: number; readonly name: string }>();
  let results = new Map<number, Result>();
  const copiedUpTo = 1 + Number(events[0]?.data.copied ?? 0);
  for (const { seq, type, data } of events) {
    const copied = seq <= copiedUpTo && seq > 1;
    switch (type) {
      case 'run.created':
        lines = [{ copied, role: 'user', text: wordsIn(data.input) }];
        break;
      case 'model.completed': {
        const calls = callsOf(data.content);
        lines.push({ copied, role: 'assistant', text: wordsIn(data.content), calls });
        asked = calls.length;
        requests = new Map();
        results = new Map();
        break;
      }
      case 'answer.refused':
        lines.push({ copied, role: 'user', text: String(data.message) });
        break;
      case 'tool.requested':
        requests.set(String(data.callId), { index: Number(data.index), name: String(data.name) });
        break;
      case 'tool.completed': {
        const request = requests.get(String(data.callId));
        if (request === undefined) break;
        const note = data.note === undefined ? '' : `\n\n${String(data.note)}`;
        results.set(request.index, { name: request.name, output: `${String(data.output)}${note}`, done: true });
        if (results.size === asked) lines.push({ copied, role: 'tool', results: resultsByIndex(results, asked) });
        break;
      }
      case 'run.resumed':
        // An answer that the run failed on is asked for again.
        if (status === 'failed' && lines.at(-1)?.role === 'assistant' && requests.size === 0) lines = lines.slice(0, -1);
        status = 'running';
        break;
      default:
        status = statuses[type] ?? status;
    }
  }
  const last = lines.at(-1);
  // Calls without a result yet: what there is of them is told, and of the others that it is not known.
  if (last?.role === 'assistant' && last.calls.length > 0)
    lines.push({ copied: false, role: 'tool', results: resultsByIndex(results, asked) });
  return { lines, status };
}

function resultsByIndex(results: ReadonlyMap<number, Result>, count: number): readonly Result[] {
  return Array.from({ length: count }, (_, index) => results.get(index) ?? { name: '', output: '', done: false });
}

const silent = '(I ended this turn without a word.)';
const note = /\(This turn (failed|was cancelled|is not finished|has not been begun)/;
const pending = /^(Cut off|Not run|Still )/;

/** Where a message is not the line; null where it is. `more`: how the run stands may be said after it. */
function differs(message: Message | undefined, line: Line, more: boolean): string | null {
  const shown = () => `${JSON.stringify(message).slice(0, 200)} instead of ${JSON.stringify(line).slice(0, 200)}`;
  if (message === undefined || message.role !== line.role) return shown();
  switch (line.role) {
    case 'user':
      return wordsIn(message.content) === line.text ? null : shown();
    case 'assistant': {
      const text = wordsIn(message.content);
      const calls = callsOf(message.content);
      if (JSON.stringify(calls) !== JSON.stringify(line.calls)) return shown();
      if (text === line.text || (line.text.trim() === '' && text.startsWith(silent))) return null;
      return more && text.startsWith(line.text) && note.test(text.slice(line.text.length)) ? null : shown();
    }
    case 'tool': {
      if (message.role !== 'tool' || message.content.length !== line.results.length) return shown();
      const isWrong = message.content.some(({ output }, index) => {
        const result = line.results[index];
        return result?.done === true ? output !== result.output : !pending.test(output);
      });
      return isWrong ? shown() : null;
    }
    default:
      return line satisfies never;
  }
}

/** How many of the messages from `at` on are the turn, as a later run is told it; or where they are not. */
function matchTurn(messages: readonly Message[], at: number, { lines, status }: Turn, isOriginalTold: boolean): number | string {
  const told = isOriginalTold ? lines.filter(({ copied }) => !copied) : lines;
  for (const [index, line] of told.entries()) {
    const wrong = differs(messages[at + index], line, index === told.length - 1 && status !== 'completed');
    if (wrong !== null) return wrong;
  }
  const end = at + told.length;
  if (status === 'completed') return told.length;
  const last = messages[end - 1];
  if (last?.role === 'assistant') return note.test(wordsIn(last.content)) ? told.length : `nothing says that the turn is ${status}`;
  const said = messages[end];
  if (said?.role !== 'assistant' || !note.test(wordsIn(said.content))) return `nothing says that the turn is ${status}`;
  return told.length + 1;
}

/** The message of a client that the run answers. */
const messageOf = ({ events }: Story) => nameOfScript(wordsIn(events[0]?.data.input ?? []));

/** In the order of the log of a session. */
const isBefore = (one: Story, other: Story) =>
  one.createdAt < other.createdAt || (one.createdAt === other.createdAt && one.runId < other.runId);

/** When this run was told of its session: not before `from`, not after `to`, in transactions. */
function whenRead(story: Story, askedAt: (message: string) => number): { readonly from: number; readonly to: number } | null {
  const [created] = story.events;
  if (created?.data.reading !== undefined) return { from: askedAt(messageOf(story)), to: created.commit };
  const event = story.events.find(({ data, type }) => (type === 'run.started' || type === 'run.resumed') && data.reading !== undefined);
  if (event === undefined) return null;
  return { from: story.claims.get(Number(event.data.epoch)) ?? 0, to: event.commit };
}

/**
 * Holds what a model was sent against the log of the session: every turn of it, once, in order, none of another session or of a run that
 * was not there, each as far as it had come. Throws {@link Violation}.
 *
 * @param askedAt after how many transactions a client first asked for the run
 */
export function checkTold(chronicle: Chronicle, story: Story, messages: readonly Message[], askedAt: (message: string) => number): void {
  const own = foldTurn(story.events);
  const ownLines =
    own.lines.at(-1)?.role === 'tool'
      ? own.lines.filter((line) => line.role !== 'tool' || line.results.every(({ done }) => done))
      : own.lines;
  const told = messages.slice(0, messages.length - ownLines.length);
  for (const [index, line] of ownLines.entries()) {
    const wrong = differs(messages[told.length + index], line, false);
    if (wrong !== null)
      throw new Violation(`told: ${story.runId} is asked with ${wrong}, its own message ${index + 1} of ${ownLines.length}`);
  }
  const original = originalOf(chronicle, story);
  const forked = story === original ? undefined : story.events[0]?.commit;
  const read = original === undefined ? null : whenRead(original, askedAt);
  // A fork of one that had not begun was itself the first to read.
  const reading = forked === undefined ? read : { from: askedAt(messageOf(story)), to: forked };
  const earlier =
    story.parentRunId !== null || original === undefined || reading === null
      ? []
      : [...chronicle.stories.values()]
          .filter((other) => other.sessionId === story.sessionId && other.parentRunId === null && isBefore(other, original))
          .sort((one, other) => (isBefore(one, other) ? -1 : 1));
  const wrong = matchLog(chronicle, told, 0, earlier, reading ?? { from: 0, to: 0 });
  if (wrong !== null) throw new Violation(`told: ${story.runId} is told of its session ${wrong}`);
}

/** A fork is told what its original was. */
function originalOf({ stories }: Chronicle, story: Story): Story | undefined {
  let found: Story | undefined = story;
  for (let left = 20; left > 0 && found !== undefined; left--) {
    const fork = found.events[0]?.data.forkOf as { readonly runId: string } | undefined; // as the protocol has it
    if (fork === undefined) return found;
    found = stories.get(fork.runId);
  }
  return found;
}

/** Null where the messages are these runs, each as it stood at one time between the two. */
function matchLog(
  chronicle: Chronicle,
  messages: readonly Message[],
  at: number,
  [first, ...rest]: readonly Story[],
  within: { readonly from: number; readonly to: number },
): string | null {
  if (first === undefined) return at === messages.length ? null : `more than there is: ${JSON.stringify(messages[at]).slice(0, 200)}`;
  const fork = first.events[0]?.data.forkOf as { readonly runId: string } | undefined; // as the protocol has it
  const isOriginalTold = fork !== undefined && chronicle.stories.get(fork.runId)?.parentRunId === null;
  const least = Math.max(1, first.events.findLastIndex(({ commit }) => commit <= within.from) + 1);
  const most = first.events.findLastIndex(({ commit }) => commit <= within.to) + 1;
  let wrong = `nothing of ${first.runId}`;
  for (let count = most; count >= least; count--) {
    const matched = matchTurn(messages, at, foldTurn(first.events.slice(0, count)), isOriginalTold);
    if (typeof matched === 'string') {
      wrong = `${matched} (${first.runId} up to event ${count})`;
      continue;
    }
    const next = matchLog(chronicle, messages, at + matched, rest, within);
    if (next === null) return null;
    wrong = next;
  }
  return wrong;
}
