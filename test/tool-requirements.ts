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
  // The agent core over gRPC
  'tools.wire.conformance': {
    promise: 2,
    behaviour:
      'Tools in another process, reached over gRPC with a token or with mutual TLS, behave as those in this one, their files included.',
  },
  'tools.wire.access': {
    promise: 3,
    behaviour:
      'Nobody calls an agent core without its token or a certificate of its authority; it refuses to start on an address that others reach without either.',
  },
  'tools.wire.cancel': {
    promise: 2,
    behaviour: 'Cancelling a call over gRPC, leaving its stream, and its deadline each stop the tool.',
  },
  'tools.wire.pressure': {
    promise: 4,
    behaviour:
      'A caller that reads slowly holds back its own call and no memory; one that reads nothing is cut off, and its call cancelled.',
  },
  'tools.wire.shedding': {
    promise: 4,
    behaviour: 'Calls beyond the limit of an agent core are refused before they begin, with a status that says so.',
  },
  'tools.wire.drain': {
    promise: 2,
    behaviour:
      'An agent core that is told to end begins no call, lets those under way be answered and end, and says that it does not serve.',
  },
  'tools.wire.lost': {
    promise: 2,
    behaviour:
      'A call whose agent core is lost, killed or cut off ends by the effects of its tool: unknown for what may not be done twice, else to be tried again; calls that come later reach it once it is back.',
  },
  'tools.wire.list': {
    promise: 2,
    behaviour:
      'An agent core that is away has not lost its tools: what it listed last is taken, and where nothing is known the request fails.',
  },
  'tools.wire.hostile': {
    promise: 4,
    behaviour:
      'Broken frames, huge messages, wrong tokens, thousands of streams and readers that never read neither stop nor stall an agent core.',
  },
  'tools.wire.reflection': {
    promise: 5,
    behaviour: 'A general gRPC client lists, calls and cancels tools by reflection alone, and sees whether the service is well.',
  },
  'tools.wire.process': {
    promise: 2,
    behaviour: 'A run drives tools of an agent core in another process; what they write is committed by the process that drives the run.',
  },
} as const satisfies Record<string, Requirement>;
