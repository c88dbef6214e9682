import type { WireEvent } from '@nexus-agent/protocol';
import { localError } from './errors.ts';

/** What an event does to the text that is shown: more of it, or all of it anew. */
export type TextChange =
  | { readonly type: 'append'; readonly kind: 'text' | 'reasoning'; readonly text: string }
  | { readonly type: 'replace'; readonly text: string; readonly reasoning: string };

export interface TextAssembler {
  /** Takes the next event; null when it does not touch the text. */
  push(event: WireEvent): TextChange | null;
  /** Text of the current or last model call. */
  readonly text: string;
  readonly reasoning: string;
  /** The final answer, once the run has given it. */
  readonly answer: string | null;
}

/** Puts a model call's text together from its deltas. Overlaps are cut by offset; a call that is made again begins anew, and resets are obeyed. */
export function createTextAssembler(): TextAssembler {
  let callId: string | null = null;
  let length = 0;
  let text = '';
  let reasoning = '';
  let answer: string | null = null;

  function begin(id: string | null): void {
    callId = id;
    length = 0;
    text = '';
    reasoning = '';
  }

  return {
    get text() {
      return text;
    },
    get reasoning() {
      return reasoning;
    },
    get answer() {
      return answer;
    },
    push(event) {
      switch (event.type) {
        case 'model.delta': {
          const { offset, kind } = event.data;
          if (event.data.callId !== callId) begin(event.data.callId);
          if (offset > length)
            throw localError('internal', `the stream lacks the text from ${length} to ${offset} of ${event.data.callId}`);
          const fresh = event.data.text.slice(length - offset);
          if (fresh === '') return null;
          length += fresh.length;
          if (kind === 'text') text += fresh;
          else reasoning += fresh;
          return { type: 'append', kind, text: fresh };
        }
        case 'message.reset': {
          begin(event.data.callId);
          for (const part of event.data.parts) {
            if (part.kind === 'text') text += part.text;
            else reasoning += part.text;
          }
          length = event.data.offset;
          return { type: 'replace', text, reasoning };
        }
        // Once more: after a failure, or when a run is resumed whose budget had cut the answer.
        case 'model.started':
        case 'step.restarted':
        case 'model.failed': {
          if (event.data.callId !== callId || length === 0) return null;
          begin(callId);
          return { type: 'replace', text: '', reasoning: '' };
        }
        case 'message.completed':
          answer = event.data.text;
          return null;
        default:
          return null;
      }
    },
  };
}

/** Reads a run to its end and gives the answer. Throws what the stream throws. */
export async function collectText(events: AsyncIterable<WireEvent>): Promise<string> {
  const assembler = createTextAssembler();
  for await (const event of events) assembler.push(event);
  return assembler.answer ?? assembler.text;
}
