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
  'tools.openapi.elsewhere': {
    promise: 5,
    behaviour:
      'What APIs take goes to them as their documents mean it, also where authors are careless: nulls, choices, values, types of bodies, objects in queries, long numbers.',
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
  'workers.elsewhere': {
    promise: 2,
    behaviour:
      'A worker outlives what stands before its server, comes back soon after a connection that lasted, says of a call once that it is held, and counts as connected where it is.',
  },
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
  'tools.files.pdf': {
    promise: 4,
    behaviour:
      'The text of a PDF is read page by page and in pieces that say how to go on, Chinese included; what cannot be read of it is said: pages without text, fonts that do not tell, encodings that are not known.',
  },
  'tools.files.pdf-hostile': {
    promise: 4,
    behaviour: 'A hostile PDF ends inside the sandbox with a typed error, or with what is in it, and holds nobody up.',
  },
  'tools.http.changes': {
    promise: 2,
    behaviour: 'http_request sends what may change something once, to no other server, and says when nobody knows whether it took effect.',
  },
  'tools.http.markdown': {
    promise: 4,
    behaviour: 'Pages become Markdown, and JSON lines, in linear time, with nothing lost of what is read.',
  },
  // Jailed processes
  'tools.jail.refused': {
    promise: 4,
    behaviour: 'Where processes cannot be jailed no program runs, and the call says why not and what would make it possible.',
  },
  'tools.jail.contained': {
    promise: 4,
    behaviour:
      'A program in a jail sees and reaches nothing of the machine but programs to read and its own folder: no file, process, user, network, key or setting.',
  },
  'tools.jail.kernel': {
    promise: 4,
    behaviour:
      'With the driver gVisor a program has a kernel of its own inside the same jail: the same attacks fail, with the same limits, files, hosts and endings.',
  },
  'tools.jail.limits': {
    promise: 4,
    behaviour:
      'A program that reaches a limit of time, processor, memory, processes, files, disk or output is ended or refused, and the server serves on.',
  },
  'sandbox.contained': {
    promise: 4,
    behaviour: 'Each attack of code on its engine, and of a module on its host, is contained by a defence without which it succeeds.',
  },
  'tools.jail.gone': {
    promise: 4,
    behaviour: 'Nothing of a jail outlives its call or its server: no process, folder or mount, also when either is killed.',
  },
  'tools.killed.nothing-left': {
    promise: 2,
    behaviour: 'Five hundred calls whose process is killed leave no process, folder, lease or reservation behind.',
  },
  'tools.egress.decided': {
    promise: 3,
    behaviour: 'A program reaches only hosts that its call named and policy allowed before it started; where one is refused nothing runs.',
  },
  'tools.egress.granted': {
    promise: 3,
    behaviour:
      'A program reaches a host that was allowed by the usual variables for proxies, with nothing else of any network in its jail.',
  },
  'tools.egress.refused': {
    promise: 3,
    behaviour: 'What a program may not reach is answered with 403 and what would be needed.',
  },
  'tools.egress.recorded': {
    promise: 5,
    behaviour: 'Each connection of a program is told with its result: where to, how much, how long and how it ended.',
  },
  'tools.egress.contained': {
    promise: 4,
    behaviour:
      'Whatever a program says to its proxy, it reaches no other host, port, private address or listener of the server, and no two readers differ about a request.',
  },
  'tools.egress.limits': {
    promise: 4,
    behaviour: 'Connections, bytes, speed, heads, silence and time of the way out are bounded, and the server serves on.',
  },
  'tools.edge.decided': {
    promise: 3,
    behaviour:
      'A secret goes along with a request where the operator granted it for that host and tenant and policy allows it, each time; else nothing is sent.',
  },
  'tools.edge.http': {
    promise: 4,
    behaviour:
      'A secret that http_fetch or http_request names goes to its host over TLS only, to no other by a redirect, and comes back in no answer.',
  },
  'tools.edge.jail': {
    promise: 4,
    behaviour:
      'A program calls a host with a secret that never enters its jail: whatever it and the host say, it reads it in no answer and sends it nowhere else.',
  },
  'tools.egress.gone': { promise: 4, behaviour: 'The way out ends with its call, also when the server is killed.' },
  'tools.jail.same': { promise: 4, behaviour: 'Jails hold alike whether the server is root or an ordinary user.' },
  'tools.shell.files': {
    promise: 2,
    behaviour: 'What a command did to the files of its session is kept with its result, and undone when it was ended.',
  },
  'tools.shell.policy': {
    promise: 3,
    behaviour:
      'Policies on files hold for programs too: what may not be read cannot be opened, and who writes what may not be written fails.',
  },
  'tools.python.value': {
    promise: 0,
    behaviour: 'Python gives the value of its last expression, what it printed, or what was wrong with it and where.',
  },
  'tools.python.errors': {
    promise: 0,
    behaviour:
      'What is wrong with Python code is told in the words of Python, with the line of the code; nothing of a failed call is left.',
  },
  'tools.python.limits': {
    promise: 4,
    behaviour: 'Python that takes too much memory, nests too deeply or prints too much ends with limit_exceeded, which names the limit.',
  },
  // Waiting
  'waits.timer': {
    promise: 2,
    behaviour:
      'A run that waits for a time is in no process meanwhile and wakes in whichever is alive, also after all of them were killed; waits of one step go on side by side.',
  },
  'waits.bounded': {
    promise: 3,
    behaviour:
      'A wait is decided by policy and counted like every call; one that is longer than allowed, or no time at all, is told to the model; cancelling the run and its deadline end it.',
  },
  // Client tools
  'client-tools.waits': {
    promise: 2,
    behaviour:
      'A call of a tool that the client of a run executes waits for its result in no process, beside other calls and from inside of code, and goes on in whichever process is alive when it comes.',
  },
  'client-tools.results': {
    promise: 2,
    behaviour:
      'A call has one result: the same may be given again, another is refused, the first of several at once counts; a failure is told to the model; what is no result changes nothing.',
  },
  'client-tools.output': {
    promise: 2,
    behaviour:
      'A result of a client that does not fit the schema which its tool was declared with is refused with the place, and the call waits on.',
  },
  'client-tools.long': {
    promise: 2,
    behaviour:
      'A result of a client that is too long for a prompt is kept as an artifact, or cut where there is no room, as that of any tool.',
  },
  'client-tools.bounded': {
    promise: 3,
    behaviour: 'A call waits no longer than its time, and not beyond the end of its run; a result that comes later is refused.',
  },
  'client-tools.granted': {
    promise: 3,
    behaviour:
      'Policy decides each call on its arguments before the client hears of it, people approve it where policy says so, and it counts as a tool call of the budget.',
  },
  'client-tools.declared': {
    promise: 3,
    behaviour:
      'Tools of a client that could not be called, or have a name of the server, are refused when the run is started; a run has its own, its forks have them, no other run.',
  },
  'client-tools.sdk': {
    promise: 2,
    behaviour: 'The SDK executes the calls of a run in the program that started it, and takes up a run that another program left.',
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
  'tools.wire.code': {
    promise: 2,
    behaviour:
      'Code that calls tools goes on in another agent core, and for another process that drives it, as if none had been killed: its fuel, output and calls are the same, and no call is made twice.',
  },
  'tools.wire.watched': {
    promise: 5,
    behaviour:
      'An agent core tells its health to everybody who can connect and its metrics to who has the token or a certificate, and both until it has drained.',
  },
  'tools.artifacts.kept': {
    promise: 2,
    behaviour:
      'A result that is too long for a prompt is kept as it was, without secrets and within bounds, and committed with its event; the model gets its beginning and is told how to read on.',
  },
  'tools.artifacts.lines': {
    promise: 0,
    behaviour:
      'Long texts within a result that is kept, such as what a command printed, are kept with their lines, and the note says where each is.',
  },
  'tools.artifacts.read': {
    promise: 5,
    behaviour: 'Tools and the API give any part of what is kept, to its own session and its own tenant alone, and say where it ends.',
  },
  'tools.artifacts.refused': {
    promise: 2,
    behaviour: 'A result for which there is no room, or no store, is cut and says so: its call has gone well all the same.',
  },
  'tools.artifacts.rows': {
    promise: 2,
    behaviour:
      'What is kept of the result of a tool is there with its commit or not at all, names a content that stays, and goes with its session.',
  },
  'tools.wire.process': {
    promise: 2,
    behaviour: 'A run drives tools of an agent core in another process; what they write is committed by the process that drives the run.',
  },
  // Limits of each tool
  'tools.limits.settings': {
    promise: 0,
    behaviour: 'Limits are set by name or pattern of tools; of the patterns that fit a name the one that says most about it decides.',
  },
  'tools.limits.concurrency': {
    promise: 1,
    behaviour:
      'No more calls of a tool are under way than its limit; the others wait in turn, for a time, and one that got no turn has not begun and costs nothing.',
  },
  'tools.limits.timeout': { promise: 0, behaviour: 'A call takes no longer than the settings say, whatever its tool allows.' },
  'tools.limits.breaker': {
    promise: 0,
    behaviour: 'A tool that keeps failing is left alone for a while: calls fail at once, say until when, and then one is let through.',
  },
  'tools.limits.blame': {
    promise: 0,
    behaviour: 'Only what is the fault of a tool itself counts against it, and what one tenant does with it changes nothing for another.',
  },
  'tools.load-script': {
    promise: 0,
    behaviour: 'The load script for tools runs without k6 too, and fails where a threshold of it does not hold or is not understood.',
  },
  'tools.bad-input': {
    promise: 0,
    behaviour:
      'A definition, name, argument or answer that is wrong is told precisely, where it is and what would be right; what was there before stays.',
  },
  'tools.metrics': {
    promise: 5,
    behaviour:
      'Executions of tools are counted by tool, tier, kind of source and outcome, with the time that they waited and ran, in closed sets of labels.',
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
  // As a library
  'embed.library': {
    promise: 0,
    behaviour:
      'A program starts the platform inside itself with tools that are functions, uses it as a client does, and reaches nothing when it has ended.',
  },
} as const satisfies Record<string, Requirement>;
