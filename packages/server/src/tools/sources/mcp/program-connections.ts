import { LRUCache } from 'lru-cache';
import { NexusError, settlesWithin, type Timers } from '#core';
import { connect, failureOf, type McpConnection, type McpConnectionOptions } from './connection.ts';
import type { Programs, ProgramTransport, StartedProgram } from './programs.ts';
import { createStdioTransport } from './stdio-transport.ts';
import type { SurveyLimits } from './survey.ts';

export interface ProgramConnectionsOptions extends Pick<McpConnectionOptions, 'version' | 'connectTimeoutMs' | 'maxTools'>, SurveyLimits {
  readonly programs: Pick<Programs, 'start'>;
  readonly timers: Timers;
}

/** What of a conversation whoever opens it has a say in. */
export type Hooks = Pick<McpConnectionOptions, 'onToolsChanged' | 'offers'>;

type OpenProgram = (tenantId: string, transport: ProgramTransport, hooks: Hooks, signal: AbortSignal) => Promise<McpConnection>;

/** How long a program may take to say whether it knows the later revision: those of the former one may stay silent. */
const probeMs = 5_000;
/** How long the end of a program that has closed what it says may take. */
const endedMs = 200;
const maxRemembered = 10_000;

interface ProgramStart {
  readonly tenantId: string;
  readonly transport: ProgramTransport;
  readonly hooks: Hooks;
  readonly onIgnored: () => void;
  readonly isFormer: boolean;
}

/**
 * Conversations with programs, in the revision that each understands. One that ends itself over the question for the later revision is
 * started again for the former one; that, or that it said nothing, is remembered until it fails.
 */
export function createProgramOpener(options: ProgramConnectionsOptions): OpenProgram {
  const { programs, timers, connectTimeoutMs } = options;
  const former = new LRUCache<string, true>({ max: maxRemembered });

  async function start({ tenantId, transport, hooks, onIgnored, isFormer }: ProgramStart, signal: AbortSignal): Promise<McpConnection> {
    const opening = untilReleased(signal);
    const program = await programs.start(tenantId, transport, opening.signal);
    try {
      const connection = await connect(
        {
          ...options,
          transport: ({ deserializeMessage }) =>
            createStdioTransport({ ...options, process: program.process, deserialize: deserializeMessage, onIgnored }),
          probeTimeoutMs: Math.min(probeMs, connectTimeoutMs / 2),
          isFormer,
          ...hooks,
        },
        signal,
      );
      opening.release();
      return { ...connection, lastWords: program.lastWords, close: () => connection.close().finally(program.end) };
    } catch (error) {
      const hasEnded = await settlesWithin(timers, program.process.ended, endedMs);
      await program.end();
      signal.throwIfAborted();
      throw await explained(error, program, hasEnded && (await program.process.ended).type === 'exited');
    }
  }

  return async (tenantId, transport, hooks, signal) => {
    const key = JSON.stringify([tenantId, transport]);
    const isFormer = former.has(key);
    const how = { tenantId, transport, hooks, onIgnored: () => void former.set(key, true) };
    try {
      return await start({ ...how, isFormer }, signal);
    } catch (error) {
      former.delete(key);
      if (isFormer || !(error instanceof EndedByItself) || signal.aborted) throw error;
    }
    const connection = await start({ ...how, isFormer: true }, signal);
    former.set(key, true);
    return connection;
  };
}

/** Fires with the signal, until it is released: what has been opened is closed in its own way. */
function untilReleased(signal: AbortSignal): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const onAbort = () => controller.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return { signal: controller.signal, release: () => signal.removeEventListener('abort', onAbort) };
}

async function explained(error: unknown, program: StartedProgram, isEndedByItself: boolean): Promise<NexusError> {
  const message = `${failureOf(error).error.message} (${await program.lastWords()})`;
  return new (isEndedByItself ? EndedByItself : NexusError)('tool_failed', message, { cause: error });
}

/** Of a program that ended before it took part in a conversation. */
class EndedByItself extends NexusError {}
