import { asRecord, type InboundAnswer, type InboundRequest } from '#llm/dialects';
import { currentTask, type SimTask } from './conversation.ts';
import { type Directive, parseDirectives } from './directives.ts';
import { exampleOf } from './example.ts';
import { nextCalls } from './rules.ts';
import { composeAnswer } from './speech.ts';
import { tokenPieces } from './text.ts';

/** Decides what the simulated model says next: by the directives of the user message, else by rules. Pure and deterministic. */
export function planAnswer(request: InboundRequest): InboundAnswer {
  const task = currentTask(request.turns);
  if (isSummaryRequest(request)) return spoken(summarise(task.text));
  const directives = parseDirectives(task.text);
  if (directives.length > 0) return scripted(directives[task.turnIndex], task);
  const calls = request.outputSchema !== null && request.tools.length === 0 ? [] : nextCalls(request, task);
  if (calls.length > 0) {
    return {
      thinking: '',
      text: '',
      calls: calls.map((call) => ({ name: call.name, arguments: JSON.stringify(call.input) })),
      finish: 'tool_calls',
    };
  }
  const answer = composeAnswer(request, task);
  return spoken(request.outputSchema === null ? answer : JSON.stringify(exampleOf(request.outputSchema, answer, figuresOf(task))));
}

/** Cuts an answer at the request's token limit, as a provider would: in the middle of arguments, too. */
export function limitAnswer(answer: InboundAnswer, maxTokens: number): InboundAnswer {
  let left = maxTokens;
  let cut = false;
  const within = (said: string): string => {
    const pieces = tokenPieces(said);
    const kept = pieces.slice(0, left);
    cut ||= kept.length < pieces.length;
    left -= kept.length;
    return kept.join('');
  };
  const [thinking, text] = [within(answer.thinking), within(answer.text)];
  const calls: { name: string; arguments: string }[] = [];
  for (const call of answer.calls) {
    const name = within(call.name);
    if (name === call.name) calls.push({ name, arguments: within(call.arguments) });
    if (cut) break;
  }
  return cut ? { thinking, text, calls, finish: 'length' } : answer;
}

function spoken(text: string): InboundAnswer {
  return { thinking: '', text, calls: [], finish: 'stop' };
}

function scripted(directive: Directive | undefined, task: SimTask): InboundAnswer {
  if (directive === undefined) return spoken('Done.');
  const outputs = task.done.map((call) => call.output ?? '');
  const said = filledIn(directive.say ?? '', (name) => (name === '{{results}}' ? outputs.join('\n') : (outputs.at(-1) ?? '')));
  return {
    thinking: directive.think,
    text: directive.tokens === null ? said : stretch(said, directive.tokens),
    calls: directive.tools,
    finish: directive.finish ?? (directive.tools.length > 0 ? 'tool_calls' : 'stop'),
  };
}

/** No answer has more: a short script could stand for more than any memory holds. */
const mostChars = 2_000_000;

/** A text with what its places stand for. */
function filledIn(text: string, standsFor: (place: string) => string): string {
  let filled = '';
  for (const part of text.split(/(\{\{results?\}\})/)) {
    filled += /^\{\{results?\}\}$/.test(part) ? standsFor(part) : part;
    if (filled.length > mostChars) return filled.slice(0, mostChars);
  }
  return filled;
}

/** The text, repeated or cut to exactly so many tokens. */
function stretch(text: string, tokens: number): string {
  const pieces = tokenPieces(text.trim() === '' ? 'simulated' : text.trim());
  const out: string[] = [];
  let chars = 0;
  for (let index = 0; index < tokens && chars < mostChars; index++) {
    const piece = pieces[index % pieces.length] ?? '';
    chars += piece.length + 1;
    // Where the text starts again it needs a space of its own to stay a separate token.
    out.push(index > 0 && index % pieces.length === 0 && !/^\s/.test(piece) ? ` ${piece}` : piece);
  }
  return out.join('');
}

function isSummaryRequest(request: InboundRequest): boolean {
  if (request.tools.length > 0) return false;
  return /\b(summari[sz]e|compress)\b.*\bconversation|\bconversation.*\bsummar/is.test(request.system.slice(0, maxSystemChars));
}

/** Who asks for a summary says so at once. */
const maxSystemChars = 2_000;

/** Directives that it quotes are not to be taken for those of a person. */
function summarise(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const kept = lines.length <= 12 ? lines : [...lines.slice(0, 6), ...lines.slice(-6)];
  return `Summary by the simulator of ${lines.length} lines:\n${kept.map((line) => `- ${line.trim().slice(0, 160).replaceAll('[[sim', '[sim')}`).join('\n')}`;
}

/** Numbers of the last tool result, for schemas that ask for some. */
function figuresOf(task: SimTask): number[] {
  const output = task.done.findLast((call) => call.output !== null && !call.isError)?.output ?? task.text;
  const value = readJson(output);
  if (value !== null) return Object.values(value).filter((item) => typeof item === 'number');
  return (output.match(/-?\d+(?:\.\d+)?/g) ?? []).map(Number);
}

function readJson(text: string): Record<string, unknown> | null {
  try {
    return asRecord(JSON.parse(text));
  } catch {
    return null;
  }
}
