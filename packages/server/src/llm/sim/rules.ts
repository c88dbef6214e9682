import { asRecord, type InboundRequest, type InboundTool } from '#llm/dialects';
import { pathOf, type SimTask } from './conversation.ts';
import { csvProgram } from './csv-program.ts';
import { composeAnswer } from './speech.ts';

interface PlannedCall {
  readonly name: string;
  readonly input: Record<string, unknown>;
}

/** What the words of a task ask for. */
interface Intent {
  readonly files: readonly string[];
  readonly writeTo: string | null;
  readonly list: boolean;
  readonly read: boolean;
  readonly compute: boolean;
  readonly searchFor: string | null;
  readonly urls: readonly string[];
  readonly ask: boolean;
  readonly agents: readonly InboundTool[];
}

/** What of a task is read for what it asks: the patterns look from each place for what may follow. */
const maxReadChars = 8_000;

const filePattern = /(?<![\w/:.-])(?:[\w-]+\/)*[\w-]+\.(?:csv|tsv|txt|md|json|ya?ml|log|html|ts|js|py)\b/gi;

function readIntent(request: InboundRequest, text: string): Intent {
  const withoutUrls = text.replace(/https?:\/\/\S+/g, ' ');
  const writeTo =
    /\b(?:write|save|store|put|create|record)\b[^.\n]{0,200}?\b(?:to|in|into|as|file|report)\s+(?:a\s+file\s+)?(?:named\s+|called\s+)?["'`]?((?:[\w-]+\/)*[\w-]+\.\w{1,5})/i.exec(
      withoutUrls,
    )?.[1] ?? null;
  const files = [...new Set(withoutUrls.match(filePattern) ?? [])].filter((file) => file !== writeTo);
  const agents = request.tools.filter((tool) => {
    const name = /^agent_(.+)$/.exec(tool.name)?.[1];
    return name !== undefined && (text.includes(tool.name) || new RegExp(`\\b${name.replace(/[_-]/g, '[ _-]')}\\b`, 'i').test(text));
  });
  return {
    files,
    writeTo,
    list: /\b(list|which|what)\b[^.?!]{0,300}\b(files?|folder|workspace|documents?)\b/i.test(text),
    read: /\b(read|open|show|summari[sz]e|compare|explain|review|look at|what (?:does|do|is|are)|according to)\b/i.test(text),
    compute:
      /\b(sum|total|average|mean|median|minimum|maximum|count|how many|highest|lowest|largest|smallest|biggest|compute|calculate|per cent|percentage)\b/i.test(
        text,
      ),
    searchFor:
      /\b(?:search|find|grep|look)\b[^"'`\n]{0,120}?\bfor\s{1,8}["'`]?([^"'`\n.?!]{1,200}?)["'`]?(?:\s+in\b|[.?!\n]|$)/i
        .exec(withoutUrls)?.[1]
        ?.trim() ?? null,
    urls: [...new Set((text.match(/https?:\/\/[^\s"'`<>)\]]+/g) ?? []).map((url) => url.replace(/[.,;:!?]+$/, '')))],
    ask: /\bask (?:me|a person|a human|the user|someone|for (?:approval|confirmation))\b/i.test(text),
    agents,
  };
}

/**
 * The next tool calls for a task, in stages, each done once: delegate, ask, look around, read and fetch, compute, write.
 * No calls: it is time to answer. A stage whose tool is not offered is passed over.
 */
export function nextCalls(request: InboundRequest, whole: SimTask): PlannedCall[] {
  const task = { ...whole, text: whole.text.slice(0, maxReadChars) };
  const intent = readIntent(request, task.text);
  const tool = (name: string) => request.tools.find((candidate) => candidate.name === name);
  const did = (name: string) => task.done.some((call) => call.name === name);
  const stage = (name: string, wanted: boolean, inputs: (found: InboundTool) => Record<string, unknown>[]): PlannedCall[] => {
    const found = tool(name);
    if (!wanted || found === undefined || did(name)) return [];
    return inputs(found).map((input) => ({ name, input }));
  };

  if (intent.agents.length > 0) {
    return intent.agents
      .filter((agent) => !did(agent.name))
      .map((agent) => ({ name: agent.name, input: oneText(agent, ['task', 'input', 'message'], task.text) }));
  }
  const question = stage('ask_human', intent.ask, (found) => [oneText(found, ['question', 'message', 'prompt'], questionOf(task.text))]);
  if (question.length > 0) return question;

  const needsFiles = intent.compute || intent.read;
  const named = intent.files.length > 0;
  const seeksTable =
    intent.compute && named && !intent.files.some(isTable) && /\b(data|dataset|csv|tables?|columns?|rows?)\b/i.test(task.text);
  const look = [
    ...stage(
      'fs_list',
      intent.list || seeksTable || (needsFiles && !named && intent.urls.length === 0 && mentionsFiles(task.text)),
      (found) => [hasProperty(found, 'recursive') ? { recursive: true } : {}],
    ),
    ...stage('fs_search', intent.searchFor !== null, (found) => [oneText(found, ['query', 'pattern', 'text'], intent.searchFor ?? '')]),
  ];
  if (look.length > 0) return look;

  const listed = needsFiles && (!named || seeksTable) ? filesListed(task, intent) : [];
  const paths = [...new Set([...intent.files, ...(seeksTable ? listed.filter(isTable) : listed)])];
  const gather = [
    ...stage('fs_read', (needsFiles || named) && paths.length > 0, (found) =>
      paths.slice(0, 8).map((path) => oneText(found, ['path', 'file'], path)),
    ),
    ...stage('http_fetch', intent.urls.length > 0, (found) => intent.urls.slice(0, 4).map((url) => oneText(found, ['url'], url))),
  ];
  if (gather.length > 0) return gather;

  const compute = stage('code_js', intent.compute, (found) => {
    const tables = task.done.filter((call) => call.name === 'fs_read' && !call.isError && call.output !== null && isTable(pathOf(call)));
    if (tables.length === 0) return [];
    if (hasProperty(found, 'files')) return [{ code: csvProgram('files', task.text), files: tables.map(pathOf) }];
    const program = csvProgram(
      tables.map((call) => ({ path: pathOf(call), text: call.output ?? '' })),
      task.text,
    );
    return [oneText(found, ['code', 'source', 'script'], program)];
  });
  if (compute.length > 0) return compute;

  return stage('fs_write', intent.writeTo !== null, () => [{ path: intent.writeTo, content: `${contentToWrite(request, task)}\n` }]);
}

function isTable(path: string): boolean {
  return /\.[ct]sv$/i.test(path);
}

function mentionsFiles(text: string): boolean {
  return /\b(files?|documents?|data|dataset|data set|csv|table|column|workspace|folder|report|notes?)\b/i.test(text);
}

/** Files of the last listing that the task's words point at; all tables when it computes and none is pointed at. */
function filesListed(task: SimTask, intent: Intent): string[] {
  const listing = task.done.findLast((call) => call.name === 'fs_list' && !call.isError)?.output ?? '';
  const files = [...new Set(listing.match(filePattern) ?? [])].filter((file) => file !== intent.writeTo);
  const words = new Set(task.text.toLowerCase().match(/[a-z]{4,}/g) ?? []);
  const pointed = files.filter((file) => (file.toLowerCase().match(/[a-z]{4,}/g) ?? []).some((word) => words.has(word)));
  const tables = files.filter(isTable);
  if (pointed.length > 0) return intent.compute && !pointed.some((file) => tables.includes(file)) ? [...pointed, ...tables] : pointed;
  return intent.compute ? tables : files;
}

/** A call's input with the text in the first of the named properties that the schema has, else in its first required one. */
function oneText(tool: InboundTool, names: readonly string[], text: string): Record<string, unknown> {
  const required = Array.isArray(tool.schema.required) ? tool.schema.required : [];
  const name =
    names.find((candidate) => hasProperty(tool, candidate)) ?? required.find((item) => typeof item === 'string') ?? names[0] ?? 'input';
  return { [name]: text };
}

function hasProperty(tool: InboundTool, name: string): boolean {
  return Object.hasOwn(asRecord(tool.schema.properties) ?? {}, name);
}

function questionOf(text: string): string {
  const quoted = /\bask\b[^"“]*["“]([^"”]+)["”]/i.exec(text)?.[1];
  if (quoted !== undefined) return quoted;
  const about = /\bask (?:me|a person|a human|the user|someone)\s+([^.?!\n]+)/i.exec(text)?.[1]?.trim() ?? 'may I go on';
  return `${about.charAt(0).toUpperCase()}${about.slice(1)}?`;
}

function contentToWrite(request: InboundRequest, task: SimTask): string {
  const quoted = /["“]([^"”]+)["”]/.exec(task.text)?.[1];
  return task.done.length === 0 && quoted !== undefined ? quoted : composeAnswer(request, task);
}
