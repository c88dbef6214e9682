import type { JournalData } from '@nexus-agent/protocol';
import type { Commit, CommitResult, Store } from '#storage';
import type { Logger } from '#telemetry';

/**
 * The store, with a line in the log for what went wrong or was refused in each change that was written, and for runs that
 * changed hands. A line has ids, names and codes, never what a person, a model or a tool said.
 */
export function logCommits(store: Store, logger: Logger): Store {
  const commit = async (change: Commit): Promise<CommitResult> => {
    const result = await store.commit(change);
    tell(change, result, logger);
    return result;
  };
  return new Proxy(store, {
    get(target, name) {
      return name === 'commit' ? commit : Reflect.get(target, name);
    },
  });
}

function tell(commit: Commit, result: CommitResult, logger: Logger): void {
  // A refusal may be asked again for less: whoever makes it final tells of it.
  if (result.type !== 'committed') return;
  const runId = commit.createRun?.runId ?? commit.run?.runId;
  for (const { effect, action, id: decisionId, runId: of } of commit.decisions ?? []) {
    if (effect === 'deny') logger.info({ runId: of ?? undefined, decisionId, action }, 'policy denied');
  }
  for (const { type, data } of result.events) tellEvent(type, data, runId, logger);
}

/** Only what is told is parsed: most of what is written goes well. */
function tellEvent(type: string, data: string, runId: string | undefined, logger: Logger): void {
  switch (type) {
    case 'run.failed': {
      const { error, resumable } = JSON.parse(data) as JournalData<'run.failed'>; // as it was written
      logger.warn({ runId, code: error.code, resumable }, 'run failed');
      return;
    }
    case 'model.failed': {
      const { provider, model, attempt, callId, error } = JSON.parse(data) as JournalData<'model.failed'>;
      if (error.code === 'cancelled') return; // by the caller, not by the provider
      const { status } = { status: undefined, ...error.details };
      logger.warn({ runId, callId, provider, model, attempt, code: error.code, status }, 'a provider failed');
      return;
    }
    case 'budget.refused': {
      const { purpose, callId, refusal } = JSON.parse(data) as JournalData<'budget.refused'>;
      logger.info({ runId, callId, purpose, unit: refusal.unit, scope: refusal.scope.kind }, 'a budget refused');
      return;
    }
    case 'run.resumed': {
      const { reason, workerId, epoch } = JSON.parse(data) as JournalData<'run.resumed'>;
      if (reason === 'recovered' || reason === 'handover') logger.info({ runId, reason, workerId, epoch }, 'run taken over');
      return;
    }
    default:
      return;
  }
}
