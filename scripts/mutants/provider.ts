import { type Mutant, server } from './mutant.ts';

const answerTests = [`${server}/llm/hostile.test.ts`];
const pageTests = [`${server}/tools/net/html-text.test.ts`];
const labelTests = [`${server}/telemetry/labels.test.ts`];
const readerTests = [`${server}/runs/stream/long-event.test.ts`];

/** Of what a hostile provider, a hostile page, a reader that does not read, and made-up names could do. */
export const providerMutants: readonly Mutant[] = [
  {
    bug: 'provider: an answer may have any number of calls',
    file: `${server}/llm/dialects/assembler.ts`,
    replace: 'if (calls > answerLimits.calls)',
    by: 'if (calls > 1_000_000)',
    tests: answerTests,
  },
  {
    bug: 'provider: the name of a call may have any length',
    file: `${server}/llm/dialects/assembler.ts`,
    replace: 'if (name.length > answerLimits.nameChars)',
    by: 'if (name.length > 1_000_000_000)',
    tests: answerTests,
  },
  {
    bug: 'provider: an answer may have any number of choices',
    file: `${server}/llm/dialects/openai-chat/decode.ts`,
    replace: 'chunk.choices.length > answerLimits.choices',
    by: 'chunk.choices.length > 1_000_000_000',
    tests: answerTests,
  },
  {
    bug: 'provider: whatever it claims to have used is booked',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'terms.maxOutputTokens + mostExcessTokens',
    by: 'Number.POSITIVE_INFINITY',
    tests: [...answerTests, `${server}/llm/accounts.test.ts`],
  },
  {
    bug: 'provider: the marks of an error page are looked through from each of them',
    file: `${server}/llm/transport/refusal.ts`,
    replace: 'withoutTags(text.slice(0, maxErrorBodyBytes))',
    by: "text.slice(0, maxErrorBodyBytes).replace(/<[^>]*>/g, ' ')",
    tests: answerTests,
  },
  {
    bug: 'provider: the end mark of a document is looked for from each of its blanks',
    file: `${server}/llm/transport/answer.ts`,
    replace: 'JSON.parse(withoutEndMark(text))',
    by: "JSON.parse(text.length > 100_000 ? withoutEndMark(text) : text.replace(/\\s*data:\\s*\\[DONE\\]\\s*$/, ''))",
    tests: answerTests,
  },
  {
    bug: 'provider: small arguments are compared with large ones again and again',
    file: `${server}/llm/dialects/json.ts`,
    replace: 'if (a.length > b.length * 8 + 64 || b.length > a.length * 8 + 64) return false;',
    by: '',
    tests: [`${server}/llm/dialects/json.test.ts`],
  },
  {
    bug: 'provider: what an account is made of is kept, whatever it is',
    file: `${server}/llm/dialects/anthropic-messages/decode.ts`,
    replace: 'if (!countNames.has(name)) return false;',
    by: '',
    tests: answerTests,
  },
  {
    bug: 'provider: an answer may have any number of events',
    file: `${server}/llm/transport/answer.ts`,
    replace: 'if (++events > mostEvents)',
    by: 'if (++events > 1_000_000_000)',
    tests: answerTests,
  },
  {
    bug: 'provider: answers that only ever begin are waited for',
    file: `${server}/llm/transport/http.ts`,
    replace: 'if (interims > maxInterimAnswers)',
    by: 'if (interims > 1_000_000_000)',
    tests: answerTests,
  },
  {
    bug: 'provider: what is left of a connection that was given up is parsed to its end',
    file: `${server}/core/slices.ts`,
    replace: 'if (socket.destroyed) return null;',
    by: '',
    tests: [`${server}/core/slices.test.ts`],
  },
  {
    bug: 'provider: whatever came is parsed at once',
    file: `${server}/core/slices.ts`,
    replace: 'socket.readableLength > sliceBytes ? read(sliceBytes) : read()',
    by: 'read()',
    tests: [`${server}/core/slices.test.ts`],
  },
  {
    bug: 'provider: all that many sockets bring is parsed in one turn',
    file: `${server}/core/turn-share.ts`,
    replace: 'return now - startedMs > shareMs;',
    by: 'return now - startedMs > 1_000_000;',
    tests: [`${server}/core/slices.test.ts`],
  },
  {
    bug: 'provider: what a turn had no time for is never given',
    file: `${server}/core/slices.ts`,
    replace: 'waiting.add(socket);',
    by: '',
    tests: [`${server}/core/slices.test.ts`],
  },
  {
    bug: 'provider: pages beside a long event are read all at once',
    file: `${server}/runs/stream/long-event.ts`,
    replace: 'if (reading.longRuns.has(key)) return inTurn(reading, timers, read);',
    by: '',
    tests: readerTests,
  },
  {
    bug: 'provider: a page is reduced to text in one go',
    file: `${server}/tools/net/html-text.ts`,
    replace: 'await timers.soon();',
    by: 'await Promise.resolve();',
    tests: pageTests,
  },
  {
    bug: 'provider: a page may have any amount of text',
    file: `${server}/tools/net/html-text.ts`,
    replace: 'return chars > maxChars;',
    by: 'return false && chars > maxChars;',
    tests: pageTests,
  },
  {
    bug: 'provider: a reader takes events of any length whole',
    file: `${server}/runs/stream/batch.ts`,
    replace: "if ('chars' in event && event.chars > batchChars) {",
    by: "if ('chars' in event && event.chars > batchChars * 1_000_000) {",
    tests: readerTests,
  },
  {
    bug: 'provider: names of models and tools that nobody configured have series of their own',
    file: `${server}/telemetry/labels.ts`,
    replace: 'if (!isKnown(name)) return otherValue;',
    by: '',
    tests: labelTests,
  },
  {
    bug: 'provider: every method that somebody makes up has a series',
    file: `${server}/telemetry/metrics.ts`,
    replace: 'route === unmatchedRoute ? elsewhere :',
    by: "route === '' ? elsewhere :",
    tests: labelTests,
  },
];
