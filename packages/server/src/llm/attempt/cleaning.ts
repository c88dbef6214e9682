import { type AssistantPart, dictionary } from '@nexus-agent/protocol';
import { noSecrets, type SecretValues } from '#core';
import type { Answer, DeltaKind } from '#llm/contract';

/** Takes secrets out of one answer: out of its deltas as they come, and out of the whole, whose texts are then still the deltas put together. */
export function createCleaning(secrets: SecretValues = noSecrets) {
  const streams = dictionary({ text: secrets.stream(), reasoning: secrets.stream() });
  return {
    delta: (kind: DeltaKind, text: string): string => streams[kind].push(text),
    /** What was held back, once nothing follows; null when there is no more. */
    rest(): { readonly kind: DeltaKind; readonly text: string } | null {
      for (const kind of ['reasoning', 'text'] as const) {
        const text = streams[kind].end();
        if (text !== '') return { kind, text };
      }
      return null;
    },
    answer: (answer: Answer): Answer => ({ ...answer, content: cleanContent(answer.content, secrets) }),
  };
}

/** A secret may begin in one part and end in the next of the same kind, as readers see them: what is held back of one goes before the next. */
function cleanContent(content: readonly AssistantPart[], secrets: SecretValues): readonly AssistantPart[] {
  const streams = dictionary({ text: secrets.stream(), reasoning: secrets.stream() });
  const lastOf = dictionary({ text: lastIndex(content, 'text'), reasoning: lastIndex(content, 'reasoning') });
  return content.flatMap((part, index): AssistantPart[] => {
    if (part.type === 'tool_call') return [secrets.inData(part)];
    if (part.type !== 'text' && part.type !== 'reasoning') return [part];
    const text = streams[part.type].push(part.text) + (index === lastOf[part.type] ? streams[part.type].end() : '');
    if (text === part.text) return [part];
    if (text === '') return [];
    if (part.type === 'text') return [{ ...part, text }];
    // Its signature proves another text, and would be refused.
    const { signature: _, ...rest } = part;
    return [{ ...rest, text }];
  });
}

function lastIndex(content: readonly AssistantPart[], type: AssistantPart['type']): number {
  return content.findLastIndex((part) => part.type === type);
}
