import type { Chronicle, Story, StoryEvent } from './chronicle.ts';
import { Violation } from './violation.ts';

/** Who was told that a run is cancelled. */
export interface Cancels {
  /** Asks for the run, or all runs of the session, to be cancelled, and hears when that was answered. */
  during(id: string, work: () => Promise<void>): Promise<void>;
  /** A person has the run go on. */
  resumed(runId: string): void;
}

const endings = new Set(['run.completed', 'run.failed', 'run.cancelled']);

/** Whoever takes a run up after somebody was told that it is cancelled begins nothing of it. Throws {@link Violation}. */
export function watchCancels(chronicle: Chronicle): Cancels {
  /** By run: after how many transactions somebody was told. */
  const told = new Map<string, number>();

  /** Whoever began this took the run up after so many transactions. */
  function takenUp({ events, claims }: Story): number {
    const event = events.findLast(({ type }) => type === 'run.started' || type === 'run.resumed');
    return claims.get(Number(event?.data.epoch)) ?? 0;
  }

  chronicle.listen({
    event(story, { seq, type }: StoryEvent) {
      if (type !== 'model.started' && type !== 'tool.started') return;
      const since = told.get(story.runId);
      if (since !== undefined && takenUp(story) > since)
        throw new Violation(`cancel: event ${seq} of ${story.runId} (${type}) was begun by one who took it up after it was cancelled`);
    },
  });

  return {
    async during(id, work) {
      const from = chronicle.commits;
      await work();
      for (const story of chronicle.stories.values()) {
        if (story.runId !== id && story.sessionId !== id) continue;
        const [created] = story.events;
        const isOpen = !story.events.some(
          ({ type, commit }, index) => endings.has(type) && (commit > from || index === story.events.length - 1),
        );
        if (created !== undefined && created.commit <= from && isOpen && !story.isGone) told.set(story.runId, chronicle.commits);
      }
    },
    resumed: (runId) => void told.delete(runId),
  };
}
