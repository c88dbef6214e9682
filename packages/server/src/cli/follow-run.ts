import type { WireEvent } from '@nexus-agent/protocol';
import { createTextAssembler, type NexusClient } from '@nexus-agent/sdk';
import { visibleLine } from '#core/visible';
import { type Asker, askApproval } from './ask-approval.ts';
import type { CliContext } from './context.ts';
import { describeEvent } from './describe-event.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { handleInterrupts } from './interrupt.ts';
import type { Style } from './style.ts';
import { createToolProgress } from './tool-progress.ts';

/** What an event adds to the two outputs. */
interface Rendered {
  readonly out: string;
  readonly err: string;
}

/** Turns a run's events into text: the model's words for `stdout`, everything else for `stderr`. */
function createRunRenderer(style: Style): (event: WireEvent) => Rendered {
  const assembler = createTextAssembler();
  const progress = createToolProgress();
  /** Words of the current model call that were written, to continue them after a reset. */
  let written = '';
  let told = '';
  return (event) => {
    let out = '';
    const change = assembler.push(event);
    if (change?.type === 'append' && change.kind === 'text') {
      out = change.text;
      written += change.text;
    } else if (change?.type === 'replace') {
      out = change.text.startsWith(written) ? change.text.slice(written.length) : `\n${change.text}`;
      written = change.text;
    }
    // A finished turn ends its line, so that what follows begins a new one.
    if ((event.type === 'model.completed' || event.type === 'run.cancelled' || event.type === 'run.failed') && written !== '') {
      if (!written.endsWith('\n')) out += '\n';
      written = '';
    }
    const lines = [...progress(event).map((line) => style('dim', line)), ...describeEvent(event, style, told)];
    if (event.type === 'model.failed') told = event.data.error.message;
    return { out: out, err: lines.length === 0 ? '' : `${lines.map(visibleLine).join('\n')}\n` };
  };
}

interface FollowOptions {
  /** What the first Ctrl-C does to the run. */
  readonly onInterrupt: 'cancel' | 'detach';
  /** Asks approvals on the terminal; null prints how to answer them. */
  readonly asker: Asker | null;
}

interface FollowResult {
  readonly code: number;
  readonly sessionId: string | null;
  /** Nothing came: the run had ended before the place where the reader began. */
  readonly silent: boolean;
}

/** Shows a run to its end. The code tells how it ended. */
export async function followRun(
  context: CliContext,
  client: NexusClient,
  open: (signal: AbortSignal) => AsyncIterable<WireEvent>,
  { onInterrupt, asker }: FollowOptions,
): Promise<FollowResult> {
  const { io } = context;
  const render = createRunRenderer(context.err);
  const leave = new AbortController();
  let runId: string | null = null;
  let sessionId: string | null = null;
  let cancelling: Promise<unknown> = Promise.resolve();

  const interrupts = handleInterrupts(io, () => {
    if (runId === null || onInterrupt === 'detach') {
      if (runId !== null) context.note(`\ndetached; the run goes on: nexus runs watch ${runId}`);
      return leave.abort();
    }
    context.note(`\ncancelling ${runId}; press Ctrl-C again to leave at once (then: nexus runs watch ${runId})`);
    cancelling = client.runs.cancel(runId, 'interrupted at the terminal').catch((error: unknown) => {
      context.note(`the run could not be cancelled: ${error instanceof Error ? error.message : String(error)}`);
      leave.abort();
    });
  });

  let code: number = exitCodes.failure;
  try {
    for await (const event of open(leave.signal)) {
      runId = event.runId;
      if (event.type === 'run.created') sessionId = event.data.sessionId;
      if (context.options.json === true) io.stdout.write(`${JSON.stringify(event)}\n`);
      else {
        const { out, err } = render(event);
        if (out !== '') io.stdout.write(out);
        if (err !== '') io.stderr.write(err);
      }
      if (event.type === 'approval.requested') {
        if (asker === null) tellHowToAnswer(context, event.data);
        else await askApproval(context, client, asker, event.data.approvalId);
      }
      if (event.type === 'run.completed') code = exitCodes.ok;
      if (event.type === 'run.failed') code = exitCodeOf(event.data.error.code);
    }
  } catch (error) {
    if (!leave.signal.aborted) {
      if (runId !== null) context.note(`\nlost sight of the run; it goes on where a server runs: nexus runs watch ${runId}`);
      throw error;
    }
  } finally {
    interrupts.stop();
    await cancelling;
  }
  const { interrupted } = interrupts;
  return { code: interrupted ? exitCodes.interrupted : code, sessionId, silent: runId === null && !interrupted };
}

function tellHowToAnswer(context: CliContext, { approvalId, kind }: Extract<WireEvent, { type: 'approval.requested' }>['data']): void {
  if (context.options.json === true) return;
  const ways = kind === 'question' ? ['answer'] : kind === 'unknown_outcome' ? ['answer --decision done'] : ['approve', 'deny'];
  for (const way of ways) {
    const [verb = '', ...rest] = way.split(' ');
    context.note(context.err('dim', `    nexus approvals ${[verb, approvalId, ...rest].join(' ')}`));
  }
}
