/** The door of runs/stream. */
export { follow, wireJson } from './follow.ts';
export { createStreamHub, type LocalChannel, type StreamHub } from './hub.ts';
