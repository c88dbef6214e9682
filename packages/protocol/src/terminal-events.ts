import type { JournalEventType } from './events.ts';

/** The events that end a run. In a file of their own: a client wants them without the schemas. */
export const terminalEventTypes = ['run.completed', 'run.failed', 'run.cancelled'] as const satisfies JournalEventType[];
