import type { AssistantPart } from '@nexus-agent/protocol';
import { isTooDeep } from '#core';
import type { DeltaKind } from '#llm/contract';
import { estimateTextTokens } from '#llm/tokens';

/** Builds the content of an answer from its fragments, in order of arrival. */
export interface Assembler {
  text(delta: string): void;
  reasoning(delta: string): void;
  /** Ends the current text or reasoning: what follows of the same kind is a part of its own. */
  boundary(): void;
  /** The proof of the reasoning part that was last written, or of an empty one when there is none. */
  signature(value: string): void;
  /** Opens a tool call; gives the handle for its argument fragments. */
  toolCall(id: string, name: string): ToolCallDraft;
  /** `cut`: the answer ended before the model was done, so a last call without arguments may have wanted some. */
  content(cut?: boolean): AssistantPart[];
  hasToolCalls(): boolean;
  /** Estimate of the output tokens received so far. */
  streamedTokens(): number;
}

export interface ToolCallDraft {
  id: string;
  name: string;
  arguments: string;
}

type Draft =
  | { type: 'text'; text: string }
  | { type: 'reasoning'; text: string; signature: string }
  | { type: 'tool_call'; call: ToolCallDraft };

/** `emit` is called with each piece of text or reasoning before it is added; empty pieces are dropped. */
export function createAssembler(emit: (kind: DeltaKind, text: string) => void): Assembler {
  const drafts: Draft[] = [];
  let open = null as Draft | null; // assigned in closures, which the flow analysis does not see
  const start = (draft: Draft) => {
    open = draft;
    drafts.push(draft);
  };

  return {
    text(delta) {
      if (delta === '') return;
      emit('text', delta);
      if (open?.type === 'text') open.text += delta;
      else start({ type: 'text', text: delta });
    },
    reasoning(delta) {
      if (delta === '') return;
      emit('reasoning', delta);
      if (open?.type === 'reasoning') open.text += delta;
      else start({ type: 'reasoning', text: delta, signature: '' });
    },
    boundary() {
      open = null;
    },
    signature(value) {
      if (open?.type === 'reasoning') open.signature += value;
      else start({ type: 'reasoning', text: '', signature: value });
    },
    toolCall(id, name) {
      const call: ToolCallDraft = { id, name, arguments: '' };
      start({ type: 'tool_call', call });
      return call;
    },
    content: (cut = false) => drafts.map((draft, index) => finishDraft(draft, cut && index === drafts.length - 1)),
    hasToolCalls: () => drafts.some((draft) => draft.type === 'tool_call'),
    streamedTokens: () => drafts.reduce((sum, draft) => sum + draftTokens(draft), 0),
  };
}

function draftTokens(draft: Draft): number {
  if (draft.type === 'tool_call') return estimateTextTokens(draft.call.name) + estimateTextTokens(draft.call.arguments) + 16;
  return estimateTextTokens(draft.text);
}

function finishDraft(draft: Draft, cut: boolean): AssistantPart {
  if (draft.type === 'text') return draft;
  if (draft.type === 'reasoning') {
    return { type: 'reasoning', text: draft.text, ...(draft.signature === '' ? {} : { signature: draft.signature }) };
  }
  const { id, name, arguments: raw } = draft.call;
  if (raw.trim() === '' && !cut) return { type: 'tool_call', providerCallId: id, name, input: {} };
  if (isTooDeep(raw)) return { type: 'tool_call', providerCallId: id, name, input: null, invalidInput: raw };
  try {
    return { type: 'tool_call', providerCallId: id, name, input: JSON.parse(raw) };
  } catch {
    return { type: 'tool_call', providerCallId: id, name, input: null, invalidInput: raw };
  }
}
