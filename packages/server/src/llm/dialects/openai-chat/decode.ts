import type { Usage } from '@nexus-agent/protocol';
import { fitFinishReason, readFinishReason } from '../finish.ts';
import { asRecord, asString, carriesSomething } from '../json.ts';
import { answerLimits, tooLarge } from '../limits.ts';
import { isErrorReport } from '../provider-error.ts';
import { isEndMark, notUnderstood, parseEvent, reportedError, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import { AccountedPieces, laterUsage, readUsage } from '../usage.ts';
import { createMessageReader } from './message.ts';
import type { OpenAiChoice, OpenAiChunk } from './wire.ts';

type Members = Readonly<Record<string, unknown>>;

/** Members by which answers in other formats are known: those of Ollama, llama.cpp, TGI, Gemini and of Responses. */
const foreignFormats = 'message content response token generated_text candidates delta output output_text completion text'.split(' ');

/** Longer than any reason for which an answer ends. */
const longestReason = 100;

/** The answer is complete when a finish reason was seen and the stream then ended properly, or when its end mark followed content. */
export function createChatDecoder(context: StreamContext): StreamDecoder {
  const message = createMessageReader(context);
  let finish = '';
  let early = false; // a finish reason came, and content after it
  let done = false;
  let begun = false;
  let usage: Usage | null = null;
  const accounted = new AccountedPieces();
  let responseId = '';

  function readChoice(choice: Members): void {
    if (carriesSomething(choice.error)) throw reportedError(context, { error: choice.error });
    const before = message.pieces();
    message.choice(choice, responseId);
    if (finish !== '' && message.pieces() > before) early = true;
    const reason = choice.finish_reason;
    if (typeof reason !== 'string' || reason === '') return;
    const earlier = readFinishReason(finish);
    // A plain end after it does not undo that an answer was cut or withheld.
    if ((earlier === 'length' || earlier === 'content_filter') && readFinishReason(reason) === 'stop') return;
    finish = reason.slice(0, longestReason);
  }

  /** The accounts that a chunk may have in one of several places. */
  function readAccount({ usage: own, x_groq: groq, choices }: Members): Usage | null {
    const together = (found: Usage | null, place: unknown) => (carriesSomething(place) ? laterUsage(found, readUsage(place)) : found);
    let found = together(together(null, own), asRecord(groq)?.usage);
    if (Array.isArray(choices)) for (const choice of choices) found = together(found, asRecord(choice)?.usage);
    return found;
  }

  /** Whether there was anything of an answer in it. */
  function readChunk(chunk: Members, name: string, isWhole = false): boolean {
    if (Array.isArray(chunk.choices) && chunk.choices.length > answerLimits.choices)
      throw tooLarge(context, `more than ${answerLimits.choices} choices`);
    const account = readAccount(chunk);
    if (account !== null) usage = laterUsage(usage, account);
    if (account !== null && isWhole) accounted.told(account.outputTokens, Number.POSITIVE_INFINITY);
    if (isErrorReport(name, chunk)) throw reportedError(context, chunk);
    const groqError = asRecord(chunk.x_groq)?.error;
    if (carriesSomething(groqError)) throw reportedError(context, { error: groqError });
    const found = readChoices(chunk);
    if (found) begun = true;
    if (account !== null && !isWhole) accounted.told(account.outputTokens, message.pieces());
    return found;
  }

  function readChoices(chunk: Members): boolean {
    const { choices } = chunk;
    const strange = foreignFormats.find((member) => carriesSomething(chunk[member]));
    if (choices === undefined || choices === null) {
      if (strange === undefined) return false;
      throw notUnderstood(context, `an answer in another format than Chat Completions (with "${strange}")`);
    }
    if (!Array.isArray(choices)) throw notUnderstood(context, 'a chunk whose choices are not a list');
    if (strange !== undefined) message.leave(strange);
    if (responseId === '') responseId = asString(chunk.id);
    let found = false;
    for (const item of choices) {
      if (item === null) continue;
      const choice = asRecord<OpenAiChoice>(item);
      if (choice === null) throw notUnderstood(context, 'a choice that is not an object');
      found = true;
      readChoice(choice);
    }
    return found;
  }

  return {
    event(name, data) {
      if (done) return;
      if (isEndMark(data)) {
        done = true;
        return;
      }
      const chunk = parseEvent<OpenAiChunk>(context, name, data);
      if (chunk !== null) readChunk(chunk, name);
    },
    document(body) {
      if (!readChunk(body, '', true)) throw notUnderstood(context, 'JSON that is no answer');
      done = true;
    },
    isFinished: () => done,
    answer() {
      const { assembler } = message;
      if (!done && (finish === '' || early)) throw streamCut(context);
      const reason = finish === '' ? 'stop' : readFinishReason(finish);
      if (reason === null) throw streamCut(context, `with the reason "${finish.slice(0, 40)}"`);
      const content = assembler.content(reason === 'length');
      const unread = message.unread();
      if (unread !== null && !content.some(({ type }) => type !== 'reasoning'))
        throw notUnderstood(context, `an answer in "${unread}", which is not known`);
      // Without a reason the end mark says that the answer is whole, and what came may say that it is not.
      const broken = content.length === 0 || content.some((part) => part.type === 'tool_call' && part.invalidInput !== undefined);
      if (finish === '' && broken) throw streamCut(context, 'without a finish reason');
      return { content, finishReason: fitFinishReason(reason, assembler.hasToolCalls()) };
    },
    partial: () => ({ content: message.assembler.content(true), finishReason: 'length' }),
    usage: () => usage,
    isAccounted: () => accounted.areWhole(message.pieces()),
    hasBegun: () => begun,
    streamedTokens: () => message.assembler.streamedTokens(),
  };
}
