import { runsConfig } from '#runs/config';
import type { StreamSettings } from './settings.ts';

/** The defaults, without holding anything back. */
export const streamSettings: StreamSettings = { ...runsConfig.runs.parse({}).stream, coalesceMs: 0 };
