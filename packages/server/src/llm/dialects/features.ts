import type { Message, UserPart } from '@nexus-agent/protocol';
import { createCountedCache, cutText, isBlank } from '#core';
import type { ForTenant, ModelRequest } from '#llm/contract';
import type { WireTurn } from './normalise.ts';

/**
 * What requests have that not every server takes. `maxTokensField`: the name of the limit, instead of which its other name is
 * sent. `responseFormatWithTools`: the format of the answer beside tools. `reasoning`: reasoning that goes back to who gave it.
 * `callsWithoutReasoning`, `callsWithoutSignature`: what other models said and called in the conversation, which gets a stand-in
 * for what it lacks. `userAfterTool`: a user's message right after a tool's result. `systemMessage`: instructions as a message of their
 * own. `parallelCalls`: several calls in one message. `callsWithoutTools`: calls in a conversation that offers no tools any more. `nullContent`: calls without a text beside them. `longDescriptions`: more than
 * {@link maxShortDescription} characters of a tool's description. `earlierImages`: images before the newest message of a person, in place of
 * which is said that they were there.
 */
export type RequestFeature =
  | 'streamOptions'
  | 'responseFormat'
  | 'responseFormatWithTools'
  | 'temperature'
  | 'maxTokensField'
  | 'promptCaching'
  | 'thinking'
  | 'reasoning'
  | 'callsWithoutReasoning'
  | 'callsWithoutSignature'
  | 'userAfterTool'
  | 'systemMessage'
  | 'parallelCalls'
  | 'callsWithoutTools'
  | 'nullContent'
  | 'longDescriptions'
  | 'earlierImages';

/** How a refusal tells which feature is in the way. */
export interface FeatureRefusal {
  readonly feature: RequestFeature;
  /** Of the server's words. */
  readonly words: RegExp;
  readonly isIn: (request: ModelRequest) => boolean;
  /** The fault lies with this conversation, not with the server: nothing is remembered. */
  readonly once?: true;
  /** Other statuses than 400 and 422 with which servers say it. */
  readonly statuses?: readonly number[];
}

/** A model, and for whom it is asked. */
export interface AskedModel extends ForTenant {
  readonly model: string;
}

/** Which features a provider's requests do without, by model. */
export interface Omissions {
  /** What was configured, and what is tried. */
  of(model: string): ReadonlySet<RequestFeature>;
  /** Runs `encode` as if requests did without these too. */
  trying<Result>(features: readonly RequestFeature[], encode: () => Result): Result;
  /** What was found out in this process by requests of the same tenant: a refusal may be about what it sent. */
  learned(asked: AskedModel): readonly RequestFeature[];
  remember(asked: AskedModel, features: readonly RequestFeature[]): void;
}

/** Names of models come from requests: so many are remembered, of all tenants. */
const mostLearned = 10_000;

/** @param onLearned called when a feature of a model is given up that was not before */
export function createOmissions(
  configured: (model: string) => readonly RequestFeature[] = () => [],
  onLearned: (model: string, features: readonly RequestFeature[]) => void = () => undefined,
): Omissions {
  const found = createCountedCache<string, readonly RequestFeature[]>(mostLearned);
  const keyOf = ({ tenantId = '', model }: AskedModel) => `${tenantId} ${model}`;
  let tried: readonly RequestFeature[] = [];
  return {
    of: (model) => new Set([...configured(model), ...tried]),
    learned: (asked) => found.get(keyOf(asked)) ?? [],
    trying(features, encode) {
      const outer = tried;
      tried = features;
      try {
        return encode();
      } finally {
        tried = outer;
      }
    },
    remember(asked, features) {
      const before = found.get(keyOf(asked)) ?? [];
      const known = new Set([...configured(asked.model), ...before]);
      const added = features.filter((feature) => !known.has(feature));
      if (added.length === 0) return;
      onLearned(asked.model, added);
      found.set(keyOf(asked), [...before, ...added]);
    },
  };
}

const usualStatuses: readonly unknown[] = [400, 422];

/** The feature that a refusal means, by its status and its words, among those that the request still had. */
export function refusedFeature(
  refusals: readonly FeatureRefusal[],
  { status, words }: { readonly status: unknown; readonly words: string },
  request: ModelRequest,
  omitted: ReadonlySet<RequestFeature>,
): FeatureRefusal | undefined {
  return refusals.find(
    (refusal) =>
      (usualStatuses.includes(status) || refusal.statuses?.some((other) => other === status) === true) &&
      !omitted.has(refusal.feature) &&
      refusal.isIn(request) &&
      refusal.words.test(words),
  );
}

/** An image that a server cannot take stays in the conversation: without it there, every later message would be refused as well. */
export const imageRefusals: readonly FeatureRefusal[] = [
  {
    feature: 'earlierImages',
    words:
      /\b(image|vision|multi-?modal)\w*\b.*\b(not (support|available|allow|permit)|unsupported|only supported)|\b(not?|n't)\b.*\b((image|vision|multi-?modal) ?(input|model|support)|support\w* (image|vision))|unknown variant .?image_url|at most 0 image|missing data required for image|\bcontent\b.*\bmust be a string/i,
    isIn: hasEarlierImages,
    statuses: [404, 415, 500],
  },
  // One that cannot be read or fetched any more says nothing of the next one.
  { feature: 'earlierImages', words: /\bimages?\b|image_url|\bdownload/i, isIn: hasEarlierImages, once: true },
];

function hasEarlierImages({ messages }: ModelRequest): boolean {
  return beforeNewest(messages).some(({ role, content }) => role === 'user' && content.some(({ type }) => type === 'image'));
}

function beforeNewest(messages: readonly Message[]): readonly Message[] {
  const newest = messages.findLastIndex(({ role }) => role === 'user');
  return newest === -1 ? [] : messages.slice(0, newest);
}

/** The tools that the conversation has calls of, for formats that insist on them where there are none any more. */
export function formerTools(turns: readonly WireTurn[]): ModelRequest['tools'] {
  const called = turns.flatMap((turn) =>
    turn.role === 'user' ? [] : turn.parts.flatMap((part) => (part.type === 'call' ? part.name : [])),
  );
  return [...new Set(called)].map((name) => ({ name, description: 'No longer available.', inputSchema: {} }));
}

const imageGone: UserPart = { type: 'text', text: '(Here was an image, which you cannot be shown.)' };

/** The conversation as a server takes it that does without earlier images, where it is to. */
export function shownConversation({ messages }: ModelRequest, omitted: ReadonlySet<RequestFeature>): readonly Message[] {
  if (!omitted.has('earlierImages')) return messages;
  const earlier = beforeNewest(messages);
  const told = earlier.map((message): Message => {
    if (message.role !== 'user') return message;
    return { role: 'user', content: message.content.map((part) => (part.type === 'image' ? imageGone : part)) };
  });
  return [...told, ...messages.slice(earlier.length)];
}

export const descriptionRefusal: FeatureRefusal = {
  feature: 'longDescriptions',
  words: /\bdescription\b.*(too long|maximum length|at most)|(too long|maximum length|at most)\b.*\bdescription\b/i,
  isIn: ({ tools }) => tools.some(({ description }) => description.length > maxShortDescription),
};

/** So many characters of a description are taken by servers that do not take more. */
const maxShortDescription = 1_024;

/** Members of a tool that say what it is for; none where nothing is said. */
export function descriptionFor(
  { description }: ModelRequest['tools'][number],
  omitted: ReadonlySet<RequestFeature>,
): { readonly description?: string } {
  if (isBlank(description)) return {};
  const cut = omitted.has('longDescriptions') && description.length > maxShortDescription;
  return { description: cut ? `${cutText(description, maxShortDescription - 1)}…` : description };
}

export const hasFormat = (request: ModelRequest) => request.outputSchema !== undefined;
export const hasFormatWithTools = (request: ModelRequest) => hasFormat(request) && request.tools.length > 0;
export const hasTemperature = (request: ModelRequest) => request.temperature !== undefined;
export const hasCalls = ({ messages }: ModelRequest) =>
  messages.some(({ role, content }) => role === 'assistant' && content.some(({ type }) => type === 'tool_call'));
export const hasAnswers = ({ messages }: ModelRequest) => messages.some(({ role }) => role === 'assistant');
export const hasReasoning = ({ messages }: ModelRequest) =>
  messages.some(({ role, content }) => role === 'assistant' && content.some(({ type }) => type === 'reasoning'));

/** Whether the format of the answer is sent with a request. */
export function sendsFormat(request: ModelRequest, omitted: ReadonlySet<RequestFeature>): boolean {
  if (!hasFormat(request) || omitted.has('responseFormat')) return false;
  return request.tools.length === 0 || !omitted.has('responseFormatWithTools');
}

/** The instructions, with what is wanted of the answer where the wire does not say it. */
export function instructionsFor(request: ModelRequest, formatSent: boolean): string {
  if (request.outputSchema === undefined || formatSent) return request.system;
  const wish = `Answer with JSON alone, without any text around it and without a code fence. It must fit this JSON Schema:\n${JSON.stringify(request.outputSchema)}`;
  return request.system === '' ? wish : `${request.system}\n\n${wish}`;
}
