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
  // This platform as an MCP server
  'mcp.server.tools': {
    promise: 3,
    behaviour:
      'A client of the Model Context Protocol is offered the tools of an agent, and runs them in a session under its policy and budget; what is refused is a result that says why.',
  },
  'mcp.server.agents': {
    promise: 2,
    behaviour:
      'Every agent is a tool to an MCP client: text goes in, a run is made, its answer comes out with the names of run and session.',
  },
  'mcp.server.progress': { promise: 5, behaviour: 'While a run goes on its MCP client is told of its steps, in order and each once.' },
  'mcp.server.cancel': {
    promise: 1,
    behaviour: 'A call that its MCP client cancels cancels the run, or stops the tool; at shutdown runs go on.',
  },
  'mcp.server.approvals': {
    promise: 3,
    behaviour:
      'What a run waits for is put to the person at an MCP client that takes questions and may answer them: accept approves, decline denies, cancel leaves it; everybody else is told where it waits.',
  },
  'mcp.server.resources': {
    promise: 5,
    behaviour: 'MCP clients read messages and files of the sessions of their tenant, in pages, and nothing else.',
  },
  'mcp.server.keys': {
    promise: 3,
    behaviour:
      'MCP clients show the same keys as the API: without one that stands nothing is answered, and no tenant sees what another has.',
  },
  'mcp.server.bounded': {
    promise: 4,
    behaviour:
      'What MCP clients do is bounded: sessions of a tenant, calls of a key, bodies, what waits for a client that does not read, and how long a session lasts that nothing is heard of.',
  },
  'mcp.server.stdio': {
    promise: 3,
    behaviour:
      '`nexus mcp serve` is the same server on standard input and output: of a server that runs, or of one inside it, and it leaves no process behind when its client dies.',
  },
  'mcp.server.conforms': {
    promise: 5,
    behaviour:
      'The MCP endpoint passes all that the official suite requires of a server, for the revisions 2025-11-25 and 2026-07-28; clients of the older library work, too.',
  },
  'mcp.server.apart': {
    promise: 3,
    behaviour: 'An MCP session belongs to the key that began it; to every other key it is not there.',
  },
} as const satisfies Record<string, Requirement>;
