import type { ModelRequest } from '#llm/contract';

/**
 * What requests have that not every server takes. `maxTokensField`: the name of the limit, instead of which its other name is
 * sent. `responseFormatWithTools`: the format of the answer beside tools. `reasoning`: reasoning that goes back to who gave it.
 * `callsWithoutReasoning`, `callsWithoutSignature`: what other models said and called in the conversation, which gets a stand-in
 * for what it lacks. `userAfterTool`: a user's message right after a tool's result. `systemMessage`: instructions as a message of their
 * own.
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
  | 'systemMessage';

/** How a refusal tells which feature is in the way. */
export interface FeatureRefusal {
  readonly feature: RequestFeature;
  /** Of the server's words. */
  readonly words: RegExp;
  readonly isIn: (request: ModelRequest) => boolean;
  /** The fault lies with this conversation, not with the server: nothing is remembered. */
  readonly once?: true;
}

/** Which features a provider's requests do without, by model: what was configured, and what was found out in this process. */
export interface Omissions {
  of(model: string): ReadonlySet<RequestFeature>;
  /** Runs `encode` as if requests did without these too. */
  trying<Result>(features: readonly RequestFeature[], encode: () => Result): Result;
  remember(model: string, features: readonly RequestFeature[]): void;
}

/** @param onLearned called when a feature of a model is given up that was not before */
export function createOmissions(
  configured: (model: string) => readonly RequestFeature[] = () => [],
  onLearned: (model: string, features: readonly RequestFeature[]) => void = () => undefined,
): Omissions {
  const learned = new Map<string, ReadonlySet<RequestFeature>>();
  let tried: readonly RequestFeature[] = [];
  const known = (model: string) => learned.get(model) ?? new Set(configured(model));
  return {
    of: (model) => (tried.length === 0 ? known(model) : new Set([...known(model), ...tried])),
    trying(features, encode) {
      const outer = tried;
      tried = features;
      try {
        return encode();
      } finally {
        tried = outer;
      }
    },
    remember(model, features) {
      const before = known(model);
      const added = features.filter((feature) => !before.has(feature));
      if (added.length > 0) onLearned(model, added);
      learned.set(model, new Set([...before, ...features]));
    },
  };
}

/** The feature that the words of a refusal mean, among those that the request still had. */
export function refusedFeature(
  refusals: readonly FeatureRefusal[],
  words: string,
  request: ModelRequest,
  omitted: ReadonlySet<RequestFeature>,
): FeatureRefusal | undefined {
  return refusals.find((refusal) => !omitted.has(refusal.feature) && refusal.isIn(request) && refusal.words.test(words));
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
