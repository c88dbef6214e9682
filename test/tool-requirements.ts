import type { Requirement } from './hostile-requirements.ts';

/** What an agent can do, and nothing else. Part of `requirements.ts`. */
export const toolRequirements = {
  // The list of tools
  'tools.sources.apart': {
    promise: 3,
    behaviour:
      'A tool that is not sound, or whose name another source has, is left out of the list and told in the log; all others stay as they were.',
  },
  // MCP servers as sources of tools
  'tools.mcp.client': {
    promise: 3,
    behaviour:
      'Tools of an MCP server, of the revisions 2025-11-25 and 2026-07-28, are listed, offered to agents and called as any other: under policy, budget and journal.',
  },
  'tools.mcp.pins': {
    promise: 3,
    behaviour:
      'What a model is told of an MCP tool is what a person approved: one that has changed, or is new, is neither offered nor called until a person approves it.',
  },
  'tools.mcp.effects': {
    promise: 2,
    behaviour:
      'A tool of an MCP server counts as `effects: once` until the operator says otherwise; what the server hints at counts for nothing by itself.',
  },
  'tools.mcp.reach': {
    promise: 3,
    behaviour:
      'An MCP server is reached at public addresses or what the operator granted, never at this server itself, after policy permitted its host and each secret; a secret goes only to its hosts, for its tenants.',
  },
  'tools.mcp.tenants': { promise: 3, behaviour: 'Servers, tools and connections are a tenant’s own, and bounded in number.' },
  'tools.mcp.lost': {
    promise: 2,
    behaviour:
      'A call of an MCP tool that is cut off within has an unknown outcome with `effects: once`, and the server is told of a cancelled one.',
  },
  'tools.mcp.hostile': {
    promise: 4,
    behaviour: 'An MCP server that hangs, floods, lies or dies holds up no other call, grows no memory without bound and crashes nothing.',
  },
  // Workers of tools
  'workers.queue': {
    promise: 2,
    behaviour: 'A call for a worker is held by one worker at a time and done once, on both databases, whoever asks, answers or dies.',
  },
  'workers.serve': {
    promise: 3,
    behaviour:
      'A tool that a process of somebody’s own serves is called like any other: under policy, budget and schema, with progress and its own errors.',
  },
  'workers.wait': { promise: 2, behaviour: 'A call waits for a worker for a stated time, then the model is told that nothing was done.' },
  'workers.capacity': { promise: 0, behaviour: 'A worker is given no more calls at a time than it takes, and each call once.' },
  'workers.cancel': { promise: 0, behaviour: 'Cancelling a run really stops the call at its worker.' },
  'workers.lost': {
    promise: 2,
    behaviour:
      'The call of a lost worker goes to another under the same key where its effects allow that, and to a person where they do not.',
  },
  'workers.restart': { promise: 2, behaviour: 'A server that restarts finds what its workers did meanwhile, and nothing is done twice.' },
  'workers.refused': {
    promise: 3,
    behaviour: 'A worker takes no name of others, answers only for what it holds, and what it gives is bounded.',
  },
} as const satisfies Record<string, Requirement>;
