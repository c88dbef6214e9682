import { createInterface, type Interface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Approval, ApprovalAnswer } from '@nexus-agent/protocol';
import { NexusApiError, type NexusClient } from '@nexus-agent/sdk';
import { visibleLine } from '#core/visible';
import { showArguments, showQuestion } from './arguments.ts';
import { type CliContext, parseJsonOption } from './context.ts';
import { askForm } from './form-answer.ts';
import type { CliIo } from './io.ts';
import { brief } from './style.ts';

/** Asks on the terminal; null when the input has ended or the person pressed Ctrl-C. */
export type Asker = (question: string) => Promise<string | null>;

/** Reads lines of standard input; questions go to `stderr`. Lines that arrive before a question are kept for it. */
export function createAsker(io: CliIo): { ask: Asker; close(): void } {
  const lines: string[] = [];
  const waiting: ((line: string | null) => void)[] = [];
  let ended = false;
  const sink = new Writable({
    write(chunk, _encoding, done) {
      (io.stderr.control ?? io.stderr.write)(String(chunk));
      done();
    },
  });
  const terminal = io.stdin.isTTY === true;
  const reader: Interface = createInterface({ input: io.stdin, output: sink, terminal });
  const settle = (line: string | null) => {
    const next = waiting.shift();
    if (next !== undefined) next(line);
    else if (line !== null) lines.push(line);
  };
  reader.on('line', settle);
  reader.on('SIGINT', () => (waiting.length > 0 ? settle(null) : void process.kill(process.pid, 'SIGINT')));
  reader.on('close', () => {
    ended = true;
    for (const next of waiting.splice(0)) next(null);
  });
  return {
    ask(question) {
      const ready = lines.shift();
      // A reader that is closed cannot prompt; what came before its end still counts.
      if (ended) return Promise.resolve(ready ?? null);
      reader.setPrompt(visibleLine(question));
      reader.prompt();
      if (ready !== undefined) return Promise.resolve(ready);
      return new Promise((resolve) => waiting.push(resolve));
    },
    close: () => reader.close(),
  };
}

/** As much as `describeEvent` shows of it. */
const shownOfQuestion = 500;

/** Shows what is asked and answers it, unless somebody else was quicker or the person leaves it for later. */
export async function askApproval(context: CliContext, client: NexusClient, ask: Asker, approvalId: string): Promise<void> {
  const approval = await client.approvals.get(approvalId);
  if (approval.status !== 'pending') return;
  const leave = () => context.note(`  left open: nexus approvals show ${approvalId}`);
  try {
    const { kind, question = '' } = approval;
    // Of a long one the line above says the beginning only, and the answer counts for all of it.
    if (kind === 'question' && brief(question, shownOfQuestion) !== question) context.note(showQuestion(question).replace(/^/gm, '    '));
    if (approval.form !== undefined) {
      if ((await askForm(context, client, approval.form, approvalId, ask)) === 'later') leave();
      return;
    }
    const answer = await readAnswer(context, approval, ask);
    if (answer === null) return leave();
    await client.approvals.answer(approvalId, answer);
  } catch (error) {
    if (!(error instanceof NexusApiError) || error.code !== 'conflict') throw error;
    context.note('  somebody else has answered it');
  }
}

async function readAnswer(context: CliContext, approval: Approval, ask: Asker): Promise<ApprovalAnswer | null> {
  switch (approval.kind) {
    case 'question': {
      const text = await ask('  your answer: ');
      return text === null || text === '' ? null : { decision: 'answer', result: text };
    }
    case 'unknown_outcome': {
      const choice = await choose(ask, '  did it take effect? [d]one, [r]etry, [f]ail, [l]ater: ', 'drfl');
      if (choice === 'd') {
        const result = await ask('  its result: ');
        return result === null ? null : { decision: 'done', result };
      }
      return choice === 'r' ? { decision: 'retry' } : choice === 'f' ? { decision: 'fail' } : null;
    }
    case 'tool_call': {
      context.note(showArguments(approval.arguments).replace(/^/gm, '    '));
      const choice = await choose(ask, '  approve? [y]es, [n]o, [e]dit, [l]ater: ', 'ynel');
      if (choice === 'y') return { decision: 'approve' };
      if (choice === 'n') return { decision: 'deny' };
      return choice === 'e' ? readEdit(context, ask) : null;
    }
  }
}

async function readEdit(context: CliContext, ask: Asker): Promise<ApprovalAnswer | null> {
  for (;;) {
    const text = await ask('  arguments as JSON on one line (empty: leave it): ');
    if (text === null || text.trim() === '') return null;
    try {
      return { decision: 'approve', arguments: parseJsonOption(text, 'the arguments') };
    } catch (error) {
      context.note(`  ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** The first letter of the answer, once it is one of those offered. */
async function choose(ask: Asker, question: string, letters: string): Promise<string | null> {
  for (;;) {
    const answer = await ask(question);
    if (answer === null) return null;
    const letter = answer.trim().toLowerCase().charAt(0);
    if (letter !== '' && letters.includes(letter)) return letter;
  }
}
