import type { RunId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Waiting } from '#storage/contract';
import { json, parseNullable } from '#storage/program';
import type { OpenRun } from '#storage/tables';
import type { Handler } from './handler.ts';
import { requireTurns } from './invariants.ts';
import type { WorkingRuns } from './working-runs.ts';
import { isBehind, type WorkingSessions } from './working-sessions.ts';

/** The place of a new run in the log of its session, and in the queue behind what the session is busy with. */
export function placeHandler(sessions: WorkingSessions, runs: WorkingRuns): Handler {
  return {
    want({ place, openSession }) {
      if (!place) return;
      if (!openSession) throw new NexusError('internal', 'a place in the log of a session needs the session');
      sessions.want(openSession);
    },
    load: sessions.load,
    decide({ place, createRun, openSession }, draft) {
      if (!place || !createRun || !openSession) return undefined;
      const { whileBusy } = place;
      const newest = sessions.newest(openSession);
      const open = whileBusy === 'begin' ? [] : sessions.open(openSession);
      requireTurns(createRun.tenantId, openSession, open.filter(isBehind));
      const isBusy = open.some((run) => sessions.isAtWork(run) || isBehind(run));
      const ahead = isBusy ? lastOf(open.filter((run) => isAhead(run, sessions))) : null;
      if (ahead !== null && whileBusy === 'refuse') return { type: 'busy', runId: ahead };
      if (ahead !== null) requirePlace(openSession, ahead, open.filter(isBehind).length);
      if (place.after !== undefined && place.after !== newest.runId) return { type: 'moved' };
      const createdAt = Math.max(createRun.createdAt, newest.createdAt + 1);
      const reason = typeof whileBusy === 'object' ? whileBusy.interrupt : null;
      const interrupted = ahead === null || reason === null ? [] : open.filter((run) => mayBeInterrupted(run, sessions));
      draft.placed = { createdAt, behind: ahead, interrupted: interrupted.map((run) => run.run_id as RunId) }; // rows of runs
      return () => {
        const row = runs.find(createRun.runId); // it was set by this commit
        if (!row) return;
        row.created_at = createdAt;
        if (ahead !== null) {
          row.due_at = place.waitUntil ?? null;
          row.waiting = json({ reason: 'session', behind: ahead } satisfies Waiting);
        }
        sessions.add(openSession, { runId: createRun.runId, createdAt });
        for (const run of interrupted) sessions.interrupt(run.run_id, reason ?? '');
      };
    },
  };
}

/** Each run that comes to the session or leaves it reads those that wait: no setting, as people wait for their answers in turn. */
const mostBehind = 200;

function requirePlace(sessionId: string, runId: RunId, waiting: number): void {
  if (waiting < mostBehind) return;
  throw new NexusError(
    'session_busy',
    `${waiting} runs wait already for session ${sessionId}, and no more may; try again when some have ended, or start them in sessions of their own`,
    { details: { runId }, retryable: true, retryAfterMs: 5_000 },
  );
}

/** Whoever waits next for a session begins once nothing works in it: the one that is asked for first goes first. */
export function leaveHandler(sessions: WorkingSessions, runs: WorkingRuns): Handler {
  return {
    want({ leaves }) {
      if (leaves) sessions.want(leaves);
    },
    decide({ leaves, tenantId }, draft) {
      if (!leaves) return undefined;
      requireTurns(tenantId, leaves, sessions.open(leaves).filter(isBehind));
      return () => {
        const open = sessions.open(leaves);
        if (open.some((run) => sessions.isAtWork(run))) return;
        const next = open.find(isBehind);
        const row = next && runs.find(next.run_id);
        if (!row) return;
        row.waiting = null;
        row.woken = 1;
        runs.set(row);
        draft.next = row.run_id as RunId; // the row of a run
      };
    },
    write: sessions.write,
  };
}

/** A run that people started, and that is at work, by itself or through sub-agents, or is to be. */
function isAhead(run: OpenRun, sessions: WorkingSessions): boolean {
  return run.parent_run_id === null && (sessions.isAtWork(run) || isBehind(run) || waitsForAgent(run));
}

function mayBeInterrupted(run: OpenRun, sessions: WorkingSessions): boolean {
  return run.parent_run_id === null && (sessions.isAtWork(run) || waitsForAgent(run));
}

function waitsForAgent({ status, waiting }: OpenRun): boolean {
  return status === 'waiting' && parseNullable<Waiting>(waiting)?.reason === 'child';
}

function lastOf(runs: readonly OpenRun[]): RunId | null {
  return (runs.at(-1)?.run_id as RunId | undefined) ?? null; // rows of runs
}
