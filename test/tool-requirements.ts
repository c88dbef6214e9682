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
  'workers.wire': { promise: 0, behaviour: 'A worker in another language, written from the documentation, serves a tool.' },
  'workers.nodes': { promise: 2, behaviour: 'A worker that is connected to one node does, reports and hears of calls of runs at another.' },
  'workers.many': { promise: 0, behaviour: 'A thousand workers on one server each get their calls, and none gets another’s.' },
  // Built-in tools for files
  'tools.files.edit': {
    promise: 2,
    behaviour:
      'fs_edit applies all of a change to what it read, or none of it: it says what stands there instead, and undoes nothing that others wrote.',
  },
  'tools.files.paths': {
    promise: 3,
    behaviour:
      'Each path that a tool reads, moves from, moves to, changes or deletes is decided by policy, whichever argument or folder names it.',
  },
  'tools.files.moved': {
    promise: 2,
    behaviour: 'What tools move and delete is committed with their result, within the same limits as what they write.',
  },
  'tools.files.search': {
    promise: 4,
    behaviour:
      'A search by a regular expression takes time proportional to the text, gives others their turn, and ends with what it found.',
  },
  'tools.files.diff.bounded': { promise: 4, behaviour: 'Comparing hostile texts ends at a limit and holds nobody up.' },
  'tools.files.documents': {
    promise: 4,
    behaviour: 'Word documents and Excel workbooks are read inside the sandbox: a hostile one ends with a typed error and holds nobody up.',
  },
  'tools.http.changes': {
    promise: 2,
    behaviour: 'http_request sends what may change something once, to no other server, and says when nobody knows whether it took effect.',
  },
  'tools.http.markdown': {
    promise: 4,
    behaviour: 'Pages become Markdown, and JSON lines, in linear time, with nothing lost of what is read.',
  },
  // Code mode
  'code.typescript': {
    promise: 4,
    behaviour:
      'TypeScript given to code_js runs without its types, on its own lines; what is JavaScript runs as it is, and what needs more than the removal of types is an error that names it.',
  },
  'code.calls': {
    promise: 3,
    behaviour:
      'Each call that code makes of a tool is a call of the run: decided on its arguments, reserved, run and journalled for itself.',
  },
  'code.denied': {
    promise: 3,
    behaviour:
      'A call that policy denies to code, or that cannot be made, fails alone, and the code can catch it. Code calls no tool that calls others.',
  },
  'code.budget': {
    promise: 1,
    behaviour: 'Calls that code makes count in the budget; one that it refuses stops the run, which goes on from there once there is more.',
  },
  'code.approval': {
    promise: 3,
    behaviour: 'Code may wait for a person; no process holds anything of it meanwhile.',
  },
  'code.exact': {
    promise: 4,
    behaviour:
      'Code that waited goes on in any process exactly where it was: with the same memory and output, and it stops at the same fuel.',
  },
  'code.kept': {
    promise: 2,
    behaviour: 'What waiting code goes on from stays as long as people may take to answer, wherever contents are kept.',
  },
  'code.killed': {
    promise: 2,
    behaviour: 'After kill -9 another process goes on with code where it last waited; no call of it that has ended is made again.',
  },
  'code.hostile': {
    promise: 4,
    behaviour: 'Code that floods its tools, or bends what they are made of, ends by its own limits and changes nothing for others.',
  },
  'code.typescript-hostile': {
    promise: 4,
    behaviour:
      'Text made to hold up the reader of TypeScript ends within the time of its own program: the event loop goes on, and no later program is read by a reader that broke.',
  },
} as const satisfies Record<string, Requirement>;
