import type { UserPart } from '@nexus-agent/protocol';
import { isBlank } from '#core';
import type { ModelRequest, ToolSpec } from '#llm/contract';
import { createBeginnings, type Summing, withMessages } from '../beginnings.ts';
import {
  createOmissions,
  descriptionFor,
  descriptionRefusal,
  type FeatureRefusal,
  formerTools,
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
import { markGiven, ownNames } from '../given.ts';
import { asRecord } from '../json.ts';
import { normaliseConversation, renamed, type WireAnswerPart, type WireTurn, wireMember, wireName } from '../normalise.ts';
import { answerSchema, toolSchema } from '../schema.ts';
import type { UpstreamDialect } from '../upstream.ts';
import { createMessagesDecoder, redactedMark } from './decode.ts';
import {
  type AnthropicBlock,
  type AnthropicImageSource,
  type AnthropicRequest,
  type AnthropicTool,
  type CacheMark,
  messagesPath,
} from './wire.ts';

export interface AnthropicMessagesOptions {
  /** Marks the end of the instructions and of the conversation for the provider's prompt cache. */
  readonly promptCaching: boolean;
  /** Absent: the model's own default. A budget is left out of calls that could not hold it. */
  readonly thinking?: { readonly type: 'adaptive' } | { readonly type: 'enabled'; readonly budgetTokens: number };
  /** Name of the provider: what it gives is marked as its own, and goes back to it alone. */
  readonly provider?: string;
  /** What the server does not take. */
  readonly omissions?: Omissions;
}

const formatWords = /output[ _-](config|format)|response[ _-]?format|structured.?output|json[ _-]?schema|schema of the (output|answer)/i;

/** What servers of this format do not all take, by the words of their refusals. */
export function anthropicRefusals({ promptCaching, thinking }: AnthropicMessagesOptions): readonly FeatureRefusal[] {
  return [
    { feature: 'promptCaching', words: /cache_control|prompt caching/i, isIn: () => promptCaching },
    { feature: 'temperature', words: /temperature/i, isIn: hasTemperature },
    { feature: 'thinking', words: /expected .?thinking|start with a thinking block/i, isIn: () => thinking !== undefined, once: true },
    // One conversation with thinking that the server does not take back says nothing of the next one.
    { feature: 'reasoning', words: /signature|thinking\W+(or\W+redacted_thinking\W+)?blocks?/i, isIn: hasReasoning, once: true },
    { feature: 'thinking', words: /\bthinking\b/i, isIn: () => thinking !== undefined },
    ...imageRefusals,
    descriptionRefusal,
    { feature: 'responseFormatWithTools', words: formatWords, isIn: hasFormatWithTools },
    { feature: 'responseFormat', words: formatWords, isIn: hasFormat },
  ];
}

const cacheMark: CacheMark = { cache_control: { type: 'ephemeral' } };
const minThinkingTokens = 1_024;

/** Anthropic Messages. */
export function createAnthropicMessages(options: AnthropicMessagesOptions): UpstreamDialect {
  const { provider = '', omissions = createOmissions() } = options;
  const beginnings = createBeginnings(turnInThinking);
  return {
    path: messagesPath,
    encode(request, { model, maxOutputTokens }) {
      const omitted = omissions.of(model);
      const caching = options.promptCaching && !omitted.has('promptCaching');
      const recipient = { provider, model };
      const shown = shownConversation(request, omitted);
      const turns = () => normaliseConversation(shown, recipient).turns;
      /** Members of tools' inputs, and of no others: nobody looks at what else a model made up. */
      const members = ownNames(request.tools.flatMap(membersOf), wireMember);
      const memberOnWire = (own: string) => (members.size > 0 && members.get(wireMember(own)) === own ? wireMember(own) : own);
      const encodeAll = (some: readonly WireTurn[]) => some.map((turn) => encodeTurn(turn, omitted, memberOnWire));
      const likeness = JSON.stringify([model, caching, [...omitted], [...members]]);
      const { json, sum } = beginnings.encode({ messages: shown, recipient, likeness }, (some, { last }) =>
        caching && last ? markedForCache(encodeAll(some)) : encodeAll(some),
      );
      const wished = omitted.has('thinking') ? undefined : encodeThinking(options, maxOutputTokens);
      const thinking = sum.goesOn && !sum.began ? undefined : wished;
      const format =
        sendsFormat(request, omitted) && request.outputSchema !== undefined ? answerSchema(request.outputSchema, 'closed') : null;
      const system = instructionsFor(request, format !== null);
      const body: Omit<AnthropicRequest, 'messages'> = {
        model,
        max_tokens: maxOutputTokens,
        ...(isBlank(system) ? {} : { system: [{ type: 'text', text: system, ...(caching ? cacheMark : {}) }] }),
        ...encodeTools(request, turns, omitted),
        // The provider refuses a temperature together with thinking.
        ...(request.temperature === undefined || thinking !== undefined || omitted.has('temperature')
          ? {}
          : { temperature: Math.min(1, request.temperature) }),
        ...(format === null ? {} : { output_config: { format: { type: 'json_schema', schema: format.schema } } }),
        ...(thinking === undefined ? {} : { thinking }),
        stream: true,
      };
      return withMessages(body, json);
    },
    decoder: options.provider === undefined ? createMessagesDecoder : markGiven(createMessagesDecoder, membersOf),
  };
}

function encodeThinking({ thinking }: AnthropicMessagesOptions, maxOutputTokens: number): AnthropicRequest['thinking'] {
  if (thinking === undefined || thinking.type === 'adaptive') return thinking;
  const budget = Math.max(minThinkingTokens, thinking.budgetTokens);
  return maxOutputTokens > budget ? { type: 'enabled', budget_tokens: budget } : undefined;
}

/** Whether the turn that is under way began with thinking, and whether it goes on after results. */
interface TurnInThinking {
  readonly began: boolean;
  readonly goesOn: boolean;
  /** The next message is the first of its answer. */
  readonly asked: boolean;
}

/**
 * A turn that goes on after results must have begun with thinking to go on with it; one that another model began has not. Later
 * answers of a turn may be without.
 */
const turnInThinking: Summing<MessageDraft, TurnInThinking> = {
  initial: { began: false, goesOn: false, asked: true },
  next({ began, asked }, { role, content }) {
    const goesOn = content.some(({ type }) => type === 'tool_result');
    if (role === 'user' && !goesOn) return { began: false, goesOn, asked: true };
    const first = content[0]?.type;
    return { began: asked ? first === 'thinking' || first === 'redacted_thinking' : began, goesOn, asked: false };
  },
};

/** The tools; where there are none any more, those that the conversation has calls of, as the format insists on them. */
function encodeTools(
  request: ModelRequest,
  turns: () => readonly WireTurn[],
  omitted: ReadonlySet<RequestFeature>,
): Pick<AnthropicRequest, 'tools' | 'tool_choice'> {
  if (request.tools.length > 0) return { tools: request.tools.map((tool) => encodeTool(tool, omitted)) };
  const former = formerTools(turns());
  if (former.length === 0) return {};
  const tools = former.map((tool) => encodeTool(tool, omitted));
  return { tools, tool_choice: { type: 'none' } };
}

function encodeTool(tool: ModelRequest['tools'][number], omitted: ReadonlySet<RequestFeature>): AnthropicTool {
  return { name: wireName(tool.name), ...descriptionFor(tool, omitted), input_schema: inputOnWire(tool.inputSchema) };
}

function membersOf({ inputSchema }: Pick<ToolSpec, 'inputSchema'>): string[] {
  return Object.keys(asRecord(toolSchema(inputSchema).properties) ?? {});
}

/** The schema of an input whose members have names that the format takes. */
function inputOnWire(whole: Record<string, unknown>): Record<string, unknown> {
  const schema = toolSchema(whole);
  if (membersOf({ inputSchema: whole }).every((own) => wireMember(own) === own)) return schema;
  const required = Array.isArray(schema.required) ? { required: schema.required.map((own) => wireMember(String(own))) } : {};
  return { ...schema, properties: renamed(asRecord(schema.properties) ?? {}, wireMember), ...required };
}

interface MessageDraft {
  readonly role: 'user' | 'assistant';
  readonly content: readonly AnthropicBlock[];
}

/** Results come first: the format wants them right after their calls. */
function encodeTurn(turn: WireTurn, omitted: ReadonlySet<RequestFeature>, memberOnWire: (own: string) => string): MessageDraft {
  if (turn.role === 'assistant') {
    return { role: 'assistant', content: turn.parts.flatMap((part) => encodeAnswerPart(part, omitted, memberOnWire)) };
  }
  const results = turn.results.map(
    ({ id, output, isError }): AnthropicBlock => ({
      type: 'tool_result',
      tool_use_id: id,
      content: output,
      ...(isError ? { is_error: true } : {}),
    }),
  );
  return { role: 'user', content: [...results, ...turn.parts.map(encodeInputPart)] };
}

function encodeInputPart(part: UserPart): AnthropicBlock {
  if (part.type === 'text') return { type: 'text', text: part.text };
  const source: AnthropicImageSource =
    'url' in part.data ? { type: 'url', url: part.data.url } : { type: 'base64', media_type: part.mediaType, data: part.data.base64 };
  return { type: 'image', source };
}

function encodeAnswerPart(
  part: WireAnswerPart,
  omitted: ReadonlySet<RequestFeature>,
  memberOnWire: (own: string) => string,
): AnthropicBlock[] {
  switch (part.type) {
    case 'text':
      return [{ type: 'text', text: part.text }];
    case 'reasoning':
      // Reasoning without the provider's proof would be refused.
      if (part.signature === undefined || omitted.has('reasoning')) return [];
      if (part.signature.startsWith(redactedMark)) return [{ type: 'redacted_thinking', data: part.signature.slice(redactedMark.length) }];
      return [{ type: 'thinking', thinking: part.text, signature: part.signature }];
    case 'call':
      return [{ type: 'tool_use', id: part.id, name: part.name, input: renamed(part.input, memberOnWire) }];
    default:
      return part satisfies never;
  }
}

function markedForCache(messages: readonly MessageDraft[]): readonly MessageDraft[] {
  const last = messages.at(-1);
  const block = last?.content.at(-1);
  if (last === undefined || block === undefined || block.type === 'thinking' || block.type === 'redacted_thinking') return messages;
  return [...messages.slice(0, -1), { ...last, content: [...last.content.slice(0, -1), { ...block, ...cacheMark }] }];
}
