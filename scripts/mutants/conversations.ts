import { type Mutant, server } from './mutant.ts';

const runs = `${server}/runs`;
const dialects = `${server}/llm/dialects`;
const logTests = [`${runs}/start/session-log.test.ts`];
const queueTests = [`${runs}/start/queue.test.ts`];
const contextTests = [`${runs}/drive/context.test.ts`];
const endingTests = [`${runs}/steps/endings.test.ts`];
const encodeTests = [`${dialects}/encode.test.ts`];
const resendTests = [`${server}/llm/providers/resend.test.ts`];

/** What a model is told of a session, and in which form. */
export const conversationMutants: readonly Mutant[] = [
  {
    bug: 'a remembered beginning is taken for that of a conversation that goes on otherwise at its end',
    file: `${dialects}/beginnings.ts`,
    replace: 'index <= found.settled.messages; index++',
    by: 'index < found.settled.messages; index++',
    tests: [`${dialects}/beginnings.test.ts`],
  },
  {
    bug: 'talk: a run that goes on after it failed is not told anew',
    file: `${runs}/journal/turn.ts`,
    replace: "isOpen: !isTerminal(state.status) || (state.status === 'failed' && state.resumable),",
    by: 'isOpen: !isTerminal(state.status),',
    tests: logTests,
  },
  {
    bug: 'talk: an interrupt leaves a run alone that waits for its sub-agent',
    file: `${server}/storage/commit/session-log.ts`,
    replace: '(sessions.isAtWork(run) || waitsForAgent(run));\n}\n\nfunction waitsForAgent',
    by: 'sessions.isAtWork(run);\n}\n\nfunction waitsForAgent',
    tests: queueTests,
  },
  {
    bug: 'talk: a size that is refused once more is not made less',
    file: `${runs}/journal/transitions.ts`,
    replace: 'Math.floor(known * refusedShare)',
    by: 'known',
    tests: contextTests,
  },
  {
    bug: 'talk: a summary is shown whole, however long it is',
    file: `${runs}/steps/model-plan.ts`,
    replace: 'text: shortenSummary(summary.text, compaction.summaryTokens)',
    by: 'text: summary.text',
    tests: contextTests,
  },
  {
    bug: 'talk: results share room that others have taken',
    file: `${runs}/steps/shorten.ts`,
    replace: '    left -= size;\n',
    by: '',
    tests: [`${runs}/steps/shorten.test.ts`],
  },
  {
    bug: 'talk: an answer that was cut before it began completes a run',
    file: `${runs}/steps/endings.ts`,
    replace: 'state.signatures.length > 0 && !isCut)',
    by: 'state.signatures.length > 0)',
    tests: endingTests,
  },
  {
    bug: 'talk: one of several values in an answer is taken for the answer',
    file: `${runs}/steps/endings.ts`,
    replace: 'fences.length === 3',
    by: 'fences.length >= 3',
    tests: endingTests,
  },
  {
    bug: 'talk: a summary forgets what it was told to keep',
    file: `${runs}/steps/model-plan.ts`,
    replace: "splitSummary(summary?.text ?? '').kept,",
    by: "'',",
    tests: logTests,
  },
  {
    bug: 'talk: calls that have no room in a summary are not counted',
    file: `${runs}/steps/kept-effects.ts`,
    replace: 'counts.set(toolOf(line), (counts.get(toolOf(line)) ?? 0) + 1);',
    by: 'counts.set(toolOf(line), 1);',
    tests: [`${runs}/steps/kept-effects.test.ts`],
  },
  {
    bug: 'talk: a call is told with arguments that it did not run with',
    file: `${runs}/steps/tool-result.ts`,
    replace: '...(note === null ? {} : { note }),',
    by: '',
    tests: ['test/e2e/approvals.test.ts'],
  },
  {
    bug: 'talk: what a provider refused to read is sent with each later message',
    file: `${runs}/journal/turn.ts`,
    replace: 'const told = isRefusedText(state) ?',
    by: 'const told = state.messages.length === 0 ?',
    tests: logTests,
  },
  {
    bug: 'talk: more calls in one message than OpenAI takes',
    file: `${dialects}/openai-chat/upstream.ts`,
    replace: 'const maxCalls = 128;',
    by: 'const maxCalls = 1_280;',
    tests: encodeTests,
  },
  {
    bug: 'talk: an image that the newest message has is left out without a word',
    file: `${dialects}/features.ts`,
    replace: 'messages.slice(0, newest);',
    by: 'messages;',
    tests: resendTests,
  },
  {
    bug: 'talk: text stands between calls and their results',
    file: `${dialects}/normalise.ts`,
    replace: 'const ordered = proven ? front : callsLast(front);',
    by: 'const ordered = front;',
    tests: encodeTests,
  },
];
