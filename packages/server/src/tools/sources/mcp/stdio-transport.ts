import type { JSONRPCMessage, Transport } from '@modelcontextprotocol/client';
import { NexusError, type Timers } from '#core';
import type { JailedProcess } from '#tools/sandbox';
import { createSurvey, type SurveyLimits } from './survey.ts';

export interface StdioTransportOptions extends SurveyLimits {
  readonly process: JailedProcess;
  readonly timers: Pick<Timers, 'soon'>;
  readonly deserialize: (line: string) => JSONRPCMessage;
  /** Told when the handshake of the former revision begins, and the program has said nothing to the question for the later one. */
  readonly onIgnored?: () => void;
}

/** What a line costs beside its bytes: each is looked at, an empty one too. */
const costOfLine = 64;
const sliceBytes = 32 * 1024;

/**
 * Messages over the pipes of a jailed program, one on each line. What it says is bounded: a line in bytes, values and depth before it is
 * parsed, and all lines by what it was asked since. A program that says more is killed. What is no message is passed over.
 */
export function createStdioTransport({ process, timers, deserialize, onIgnored, ...limits }: StdioTransportOptions): Transport {
  let allowance = limits.maxBytes;
  let isOver = false;
  let wasAsked = false;
  let wasHeard = false;

  function spend(bytes: number): void {
    allowance -= bytes;
    if (allowance < 0)
      throw new NexusError(
        'limit_exceeded',
        `the MCP server said more than ${limits.maxBytes} bytes for each request, which is all that is taken`,
        {
          details: { limit: 'output' },
        },
      );
  }

  function take(line: Buffer): void {
    let message: JSONRPCMessage;
    try {
      message = deserialize(line.toString('utf8').replace(/\r$/, ''));
    } catch {
      return; // programs print what is none
    }
    wasHeard = true;
    transport.onmessage?.(message);
  }

  async function read(): Promise<void> {
    let pieces: Buffer[] = [];
    let survey = createSurvey(limits);
    for await (const chunk of process.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        const most = Math.min(chunk.length, at + sliceBytes);
        const found = chunk.indexOf(0x0a, at);
        const isWhole = found >= 0 && found < most;
        const piece = chunk.subarray(at, isWhole ? found : most);
        spend(piece.length + (isWhole ? costOfLine : 0));
        survey(piece);
        pieces.push(piece);
        at = isWhole ? found + 1 : most;
        if (isWhole) {
          const line = Buffer.concat(pieces);
          pieces = [];
          survey = createSurvey(limits);
          if (isOver) return;
          if (line.length > 0) take(line);
        }
        await timers.soon();
      }
    }
  }

  function end(error?: Error): void {
    if (isOver) return;
    isOver = true;
    if (error !== undefined) {
      process.kill();
      transport.onerror?.(error);
    }
    transport.onclose?.();
  }

  const transport: Transport & { readonly stderr: null; readonly pid: null } = {
    // By these the SDK knows pipes: who is silent there when asked for the later revision is of the former one.
    ...{ stderr: null, pid: null },
    async start() {
      read().then(
        () => end(),
        (error: unknown) => end(error instanceof Error ? error : new Error('the program cannot be read', { cause: error })),
      );
    },
    async send(message) {
      if (isOver) throw new NexusError('tool_failed', 'the MCP server has ended');
      if (process.stdin.writableLength > limits.maxBytes) {
        const error = new NexusError('tool_failed', 'the MCP server does not read what it is sent');
        end(error);
        throw error;
      }
      if ('method' in message && message.method === 'initialize' && wasAsked && !wasHeard) onIgnored?.();
      wasAsked = true;
      if ('id' in message && 'method' in message) allowance = Math.min(allowance + limits.maxBytes, 4 * limits.maxBytes);
      process.stdin.write(`${JSON.stringify(message)}\n`);
    },
    async close() {
      end();
    },
  };
  return transport;
}
