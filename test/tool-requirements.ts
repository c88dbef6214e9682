import type { Requirement } from './hostile-requirements.ts';

/** What an agent can do, and nothing else. Part of `requirements.ts`. */
export const toolRequirements = {
  // The list of tools
  'tools.sources.apart': {
    promise: 3,
    behaviour:
      'A tool that is not sound, or whose name another source has, is left out of the list and told in the log; all others stay as they were.',
  },
  // Workers of tools
  'workers.queue': {
    promise: 2,
    behaviour: 'A call for a worker is held by one worker at a time and done once, on both databases, whoever asks, answers or dies.',
  },
} as const satisfies Record<string, Requirement>;
