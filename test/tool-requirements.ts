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
  // WebAssembly modules and plugins
  'tools.wasm.call': {
    promise: 4,
    behaviour: 'A WebAssembly module gets the arguments of a call as JSON and gives its result so, in an instance of its own.',
  },
  'tools.wasm.fuel': {
    promise: 4,
    behaviour: 'A module that computes without end stops after the same count of instructions each time, however it turns.',
  },
  'tools.wasm.bounded': {
    promise: 4,
    behaviour: 'What a module takes of memory, tables, stack and output ends at its limit, and the next call is as good as ever.',
  },
  'tools.wasm.refused': {
    promise: 4,
    behaviour: 'What is no module, is cut off, too large or uses what cannot be limited is refused with the reason.',
  },
  'tools.wasm.files': {
    promise: 4,
    behaviour: 'A module sees the files of its session where that is granted, each asked of policy, and nothing else whatever its paths.',
  },
  'tools.wasm.host': {
    promise: 3,
    behaviour: 'What a module asks its host is decided by policy each time, and the module learns the answer.',
  },
  'tools.wasm.host.calm': { promise: 4, behaviour: 'While modules attack, the server stays within its memory and answers at once.' },
  'plugins.package': {
    promise: 4,
    behaviour: 'The package of a plugin holds plain files with plain names, unpacks to no more than it may, and is never written to disk.',
  },
  'plugins.signed': { promise: 3, behaviour: 'A signature holds for the whole plugin and nothing else; a changed one is refused.' },
  'plugins.install': { promise: 3, behaviour: 'A plugin shows what it asks for and is installed once exactly that is accepted.' },
  'plugins.trust': { promise: 3, behaviour: 'A plugin that nobody trusted has signed is installed only where that is said.' },
  'plugins.honest': {
    promise: 3,
    behaviour: 'A plugin whose modules are not what its manifest says is refused before anything of it runs.',
  },
  'plugins.swap': {
    promise: 2,
    behaviour: 'A plugin is replaced or removed while calls run: they end as they began, the next call has the new one.',
  },
} as const satisfies Record<string, Requirement>;
