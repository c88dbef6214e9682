/** The door of runs/stream. */
export { follow } from './follow.ts';
export { wireJson } from './frames.ts';
export { createStreamHub, type StreamHub } from './hub.ts';
export type { LocalChannel } from './local.ts';
export { longEventJson, readPage } from './long-event.ts';
export type { StreamCursor, StreamFrame } from './types.ts';
