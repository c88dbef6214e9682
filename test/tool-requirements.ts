import type { Requirement } from './hostile-requirements.ts';

/** What an agent can do, and nothing else. Part of `requirements.ts`. */
export const toolRequirements = {
  // The list of tools
  'tools.sources.apart': {
    promise: 3,
    behaviour:
      'A tool that is not sound, or whose name another source has, is left out of the list and told in the log; all others stay as they were.',
  },
  // HTTP tools
  'tools.http.request': {
    promise: 3,
    behaviour: 'What a model gives an HTTP tool stays in its segment of the path, its parameter, its header or its field, whatever it is.',
  },
  'tools.http.effects': {
    promise: 2,
    behaviour:
      'The method of an HTTP tool says what it does to the world, unless the tool does; one that may be called once sends the key of its call.',
  },
  'tools.http.outcome': {
    promise: 2,
    behaviour:
      'Of a request that may be made once, and whose answer was lost, the outcome is unknown; where certainly nothing was sent it failed.',
  },
  'tools.http.answer': {
    promise: 3,
    behaviour:
      'An HTTP tool gives the part of the answer that its definition asks for; what is wrong with an answer is told with its status.',
  },
  'tools.http.bounded': {
    promise: 4,
    behaviour: 'An answer is read no further than its limit, packed or not, and a call that is cancelled closes its connection.',
  },
  'tools.http.retries': {
    promise: 2,
    behaviour: 'A busy server is asked again after as long as it says, where the call may be repeated, and only then.',
  },
  'tools.http.secrets': {
    promise: 3,
    behaviour:
      'Secrets are filled in where a definition names them and nowhere else, under policy, and none is seen in a list, a result, an error or a log.',
  },
  'tools.http.egress': {
    promise: 3,
    behaviour: 'Each host that an HTTP tool calls is decided by policy, and a private one is reached only where the operator grants it.',
  },
  'tools.http.redirects': {
    promise: 3,
    behaviour: 'Redirects stay within the origin unless the definition says otherwise, and no secret and no body goes to another one.',
  },
  'tools.http.definitions': {
    promise: 3,
    behaviour: 'A definition of HTTP tools that cannot work is refused with all that is wrong, and what would be right.',
  },
  'tools.openapi.import': {
    promise: 3,
    behaviour:
      'Operations of an OpenAPI document become tools with typed arguments that cannot be mixed up; what is left out is told with the reason.',
  },
  'tools.openapi.bounded': {
    promise: 4,
    behaviour: 'A document of any size, depth or circle of references is read within bounds, and nothing that it refers to is fetched.',
  },
  'tools.sources.followed': {
    promise: 3,
    behaviour:
      'What a tenant puts and removes is in its list of tools on every node within a second, in nobody else’s, and unchanged tools stay the same.',
  },
  'tools.secrets.granted': {
    promise: 3,
    behaviour: 'A definition of another tenant can name a secret of the operator only where it was granted, for the hosts of the grant.',
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
} as const satisfies Record<string, Requirement>;
