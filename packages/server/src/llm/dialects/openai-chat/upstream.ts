import { dictionary, type GivenBy, type UserPart } from '@nexus-agent/protocol';
import { isBlank } from '#core';
import type { ModelRequest } from '#llm/contract';
import { createBeginnings, withMessages } from '../beginnings.ts';
import {
  createOmissions,
  descriptionFor,
  descriptionRefusal,
  type FeatureRefusal,
  formerTools,
  hasAnswers,
  hasCalls,
  hasFormat,
  hasFormatWithTools,
  hasReasoning,
  hasTemperature,
  imageRefusals,
  instructionsFor,
  type Omissions,
  type RequestFeature,
  sendsFormat,
  shownConversation,
} from '../features.ts';
import { markGiven, opaqueMember } from '../given.ts';
import {
  isGivenBy,
  normaliseConversation,
  toWireJson,
  type WireAnswerPart,
  type WireResult,
  type WireTurn,
  wireName,
} from '../normalise.ts';
import { answerSchema, toolSchema } from '../schema.ts';
import type { UpstreamDialect } from '../upstream.ts';
import { createChatDecoder } from './decode.ts';
import { chatPath, type OpenAiMessage, type OpenAiPart, type OpenAiRequest, type OpenAiTool, type OpenAiToolCall } from './wire.ts';

export interface OpenAiChatOptions {
  /** OpenAI's own models take `max_completion_tokens`; most compatible servers know only `max_tokens`. */
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens';
  /** Members added to every request body, for what a server understands beyond the common format. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
  /** Name of the provider: what it gives is marked as its own, and goes back to it alone. */
  readonly provider?: string;
  /** What the server does not take. */
  readonly omissions?: Omissions;
}

/** Who refuses a field because it is missing does not refuse the field. */
const missingReasoning =
  /^(?!.*(unsupported|not (supported|allowed|permitted)|extra inputs|un(known|expected|recogni[sz]ed)|remove)).*((missing|lacks?|must|required?|expected|pass(ed)? back)[^.]*\breasoning|\breasoning\w*[^.]*(missing|lacks?|must|required?|pass(ed)? back))/i;
const formatWords = /response[ _-]?(format|mime)|json[ _-]?(schema|mode)|structured.?output|grammar/i;

/** What servers of this format do not all take, by the words of their refusals. */
export const openAiRefusals: readonly FeatureRefusal[] = [
  { feature: 'streamOptions', words: /stream_options|include_usage/i, isIn: () => true },
  {
    feature: 'maxTokensField',
    words:
      /^(?=.*max_(completion_)?tokens).*(unsupported|not (supported|permitted|allowed|recogni[sz]ed)|un(known|expected|recogni[sz]ed)|extra|use .?max_)/i,
    isIn: () => true,
  },
  { feature: 'callsWithoutReasoning', words: missingReasoning, isIn: hasAnswers },
  { feature: 'reasoning', words: /\breasoning(_content)?\b/i, isIn: hasReasoning },
  { feature: 'callsWithoutSignature', words: /thought_?signature/i, isIn: hasCalls },
  { feature: 'userAfterTool', words: /user.{0,3} after role .{0,12}tool|roles? must alternate/i, isIn: hasCalls },
  {
    feature: 'systemMessage',
    words: /system (role|message|prompt)s?\b.*not|developer instruction/i,
    isIn: (request) => !isBlank(request.system),
  },
  {
    feature: 'callsWithoutTools',
    words: /without .{0,3}tools\b|(expects?|requires?) (the )?.{0,3}tools\b|tools\W{0,3} (param|must be|is required)/i,
    isIn: (request) => request.tools.length === 0 && hasCalls(request),
  },
  { feature: 'parallelCalls', words: /single tool.?calls? at once|(parallel|multiple) tool.?calls?\b.*not/i, isIn: hasCalls },
  descriptionRefusal,
  ...imageRefusals,
  { feature: 'nullContent', words: /\bcontent\b.*(valid string|be a string|\bnull\b|\bnone\b|missing|required)/i, isIn: hasCalls },
  { feature: 'responseFormatWithTools', words: formatWords, isIn: hasFormatWithTools },
  { feature: 'responseFormat', words: formatWords, isIn: hasFormat },
  { feature: 'temperature', words: /temperature/i, isIn: hasTemperature },
];

const otherField = dictionary({ max_tokens: 'max_completion_tokens', max_completion_tokens: 'max_tokens' } as const);

/** OpenAI Chat Completions, as OpenAI and the servers compatible with it stream it. */
export function createOpenAiChat(options: OpenAiChatOptions): UpstreamDialect {
  const { provider = '', omissions = createOmissions() } = options;
  const beginnings = createBeginnings<OpenAiMessage, null>({ initial: null, next: () => null });
  return {
    path: chatPath,
    encode(request, { model, maxOutputTokens }) {
      const omitted = omissions.of(model);
      const format = sendsFormat(request, omitted) ? request.outputSchema : undefined;
      const recipient = { provider, model };
      const shown = shownConversation(request, omitted);
      const system = instructionsFor(request, format !== undefined);
      const likeness = JSON.stringify([model, system, ...omitted]);
      const messages = beginnings.encode({ messages: shown, recipient, likeness }, (turns, { first }) =>
        encodeMessages(first ? system : '', turns, recipient, omitted),
      );
      const limit = omitted.has('maxTokensField') ? otherField[options.maxTokensField] : options.maxTokensField;
      const body: Omit<OpenAiRequest, 'messages'> = {
        model,
        ...encodeTools(request, () => normaliseConversation(shown, recipient).turns, omitted),
        [limit]: maxOutputTokens,
        ...(request.temperature === undefined || omitted.has('temperature') ? {} : { temperature: request.temperature }),
        ...(format === undefined ? {} : { response_format: responseFormat(format) }),
        stream: true,
        ...(omitted.has('streamOptions') ? {} : { stream_options: { include_usage: true } }),
      };
      return withMessages({ ...options.extraBody, ...body }, messages.json);
    },
    decoder: options.provider === undefined ? createChatDecoder : markGiven(createChatDecoder),
  };
}

function encodeTools(
  request: ModelRequest,
  turns: () => readonly WireTurn[],
  omitted: ReadonlySet<RequestFeature>,
): Pick<OpenAiRequest, 'tools' | 'tool_choice'> {
  if (request.tools.length > 0) return { tools: request.tools.map((tool) => encodeTool(tool, omitted)) };
  const former = omitted.has('callsWithoutTools') ? formerTools(turns()) : [];
  return former.length === 0 ? {} : { tools: former.map((tool) => encodeTool(tool, omitted)), tool_choice: 'none' };
}

function encodeTool(tool: ModelRequest['tools'][number], omitted: ReadonlySet<RequestFeature>): OpenAiTool {
  const { name, inputSchema } = tool;
  return {
    type: 'function',
    function: { name: wireName(name), ...descriptionFor(tool, omitted), parameters: toolSchema(inputSchema) },
  };
}

function responseFormat(whole: Record<string, unknown>): NonNullable<OpenAiRequest['response_format']> {
  const { schema, strict } = answerSchema(whole, 'open') ?? { schema: {}, strict: false };
  return { type: 'json_schema', json_schema: { name: 'output', schema, ...(strict ? { strict: true } : {}) } };
}

function encodeMessages(
  system: string,
  turns: readonly WireTurn[],
  recipient: GivenBy,
  omitted: ReadonlySet<RequestFeature>,
): OpenAiMessage[] {
  const apart = !isBlank(system) && !omitted.has('systemMessage');
  if (!isBlank(system) && !apart) turns[0]?.parts.unshift({ type: 'text', text: `${system}\n` });
  const messages: OpenAiMessage[] = apart ? [{ role: 'system', content: system }] : [];
  const mostCalls = omitted.has('parallelCalls') ? 1 : maxCalls;
  for (const [index, turn] of turns.entries()) {
    if (turn.role === 'assistant') {
      const next = turns[index + 1];
      const results = next?.role === 'user' ? next.results.map(encodeResult) : [];
      let told = 0;
      for (const parts of splitCalls(turn.parts, mostCalls)) {
        const calls = parts.filter(({ type }) => type === 'call').length;
        messages.push(encodeAnswer(parts, recipient, omitted), ...results.slice(told, told + calls));
        told += calls;
      }
    } else if (turn.parts.length > 0) {
      if (turn.results.length > 0 && omitted.has('userAfterTool')) messages.push({ role: 'assistant', content: 'Understood.' });
      messages.push({ role: 'user', content: encodeUser(turn.parts) });
    }
  }
  return messages;
}

/** OpenAI takes no more calls in one message, although its models make more. */
const maxCalls = 128;

/** An answer as messages of so many calls at most; each is followed by their results. */
function splitCalls(parts: readonly WireAnswerPart[], most: number): WireAnswerPart[][] {
  const pieces: WireAnswerPart[][] = [[]];
  let calls = 0;
  for (const part of parts) {
    if (part.type === 'call') {
      if (calls > 0 && calls % most === 0) pieces.push([]);
      calls += 1;
    }
    pieces.at(-1)?.push(part);
  }
  return pieces;
}

/** The format has no error flag, so the text must say it. */
function encodeResult({ id, output, isError }: WireResult): OpenAiMessage {
  return { role: 'tool', tool_call_id: id, content: isError && !/^error\b/i.test(output) ? `Error: ${output}` : output };
}

/** Stand-ins for what calls of other models lack, where a server insists on something: the second is what Gemini names for it. */
const noReasoning = '(not recorded)';
const noSignature = { [opaqueMember]: { google: { thought_signature: 'skip_thought_signature_validator' } } };

function encodeAnswer(parts: readonly WireAnswerPart[], recipient: GivenBy, omitted: ReadonlySet<RequestFeature>): OpenAiMessage {
  let text = '';
  const calls: OpenAiToolCall[] = [];
  for (const part of parts) {
    if (part.type === 'text') text += part.text;
    else if (part.type === 'call') {
      const missing = calls.length === 0 && omitted.has('callsWithoutSignature') ? noSignature : undefined;
      const call = { id: part.id, type: 'function' as const, function: { name: part.name, arguments: toWireJson(part.input) } };
      calls.push({ ...(part.opaque ?? missing), ...call });
    }
  }
  const own = parts.filter((part) => part.type === 'reasoning' && isGivenBy(part, recipient));
  return {
    role: 'assistant',
    content: text === '' && !omitted.has('nullContent') ? null : text,
    ...encodeReasoning(own, calls.length > 0, omitted),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** The reasoning that led to calls, as it came: servers that want it back want it with these. */
function encodeReasoning(parts: readonly WireAnswerPart[], calling: boolean, omitted: ReadonlySet<RequestFeature>): object {
  let text = '';
  let field: string | undefined;
  let opaque: Record<string, unknown> | undefined;
  for (const part of parts) {
    if (part.type !== 'reasoning') continue;
    text += part.text;
    field ??= part.field;
    opaque ??= part.opaque;
  }
  if (omitted.has('reasoning')) return {};
  if (omitted.has('callsWithoutReasoning')) return { ...opaque, [field ?? 'reasoning_content']: isBlank(text) ? noReasoning : text };
  if (!calling) return {};
  return opaque ?? (field === undefined ? {} : { [field]: text });
}

function encodeUser(content: readonly UserPart[]): string | OpenAiPart[] {
  if (content.every((part) => part.type === 'text')) return content.map((part) => part.text).join('\n');
  return content.map((part): OpenAiPart => {
    if (part.type === 'text') return { type: 'text', text: part.text };
    const url = 'url' in part.data ? part.data.url : `data:${part.mediaType};base64,${part.data.base64}`;
    return { type: 'image_url', image_url: { url } };
  });
}
