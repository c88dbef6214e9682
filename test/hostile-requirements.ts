export interface Requirement {
  readonly promise: 0 | 1 | 2 | 3 | 4 | 5;
  /** What an observer sees, in one sentence. */
  readonly behaviour: string;
}

/** What nobody from outside can do, whatever they send. Part of `requirements.ts`. */
export const hostileRequirements = {
  'hostile.kill.poisonous': {
    promise: 0,
    behaviour: 'A run that kills its processes ends as poisonous after three deaths, on both databases, and everybody else goes on.',
  },
  'hostile.kill.progress': { promise: 0, behaviour: 'A run that gets on between the deaths of its processes is never ended for them.' },
  'hostile.kill.names': { promise: 0, behaviour: 'No name from outside selects what every object inherits.' },
  'hostile.kill.numbers': {
    promise: 0,
    behaviour:
      'A number of a model that no database gives back is refused where it is said, and stops neither the run nor the lists of its tenant.',
  },
  'hostile.kill.schema': {
    promise: 0,
    behaviour: 'A schema that throws, or answers with a promise, fails the run that brought it and nothing else.',
  },
  'hostile.kill.seams': {
    promise: 0,
    behaviour: 'Whatever a part of the engine or a tool throws or gives, its own run fails or goes on, and nothing else is hurt.',
  },
  'hostile.kill.last-words': {
    promise: 0,
    behaviour: 'An error that nobody caught is told in the log, redacted and under an id, before the process ends.',
  },
  'hostile.shares.turns': {
    promise: 0,
    behaviour: 'What tenants share is given out in turns, and some of it only to those who have none.',
  },
  'hostile.shares.sandbox': { promise: 0, behaviour: 'Code of one tenant or session does not wait behind programs of others.' },
  'hostile.shares.resolver': { promise: 0, behaviour: 'Names whose server is silent delay no other name, no file and no other tenant.' },
  'hostile.shares.sockets': { promise: 0, behaviour: 'Fetches of one tenant do not wait behind fetches of another.' },
  'hostile.shares.queue': {
    promise: 0,
    behaviour: 'A run of one tenant does not wait behind ten thousand queued ones of another, nor behind its commits.',
  },
  'hostile.shares.requests': {
    promise: 0,
    behaviour: 'Requests and streams of one tenant leave room for those of others, and are refused beyond its share.',
  },
  'hostile.shares.disk': {
    promise: 0,
    behaviour: 'What a tenant keeps in files is bounded over all of its sessions and versions, and the database has room of its own.',
  },
  'hostile.shares.quotas': {
    promise: 0,
    behaviour:
      'What a tenant may have is counted exactly, over processes that create at once, and refused with what, how much and what to do.',
  },
  'hostile.shares.admission': {
    promise: 0,
    behaviour:
      'Calls that want all of a limit, of which somebody holds a little, hold back those that need little for a quarter of the time at most.',
  },
  'hostile.shares.usage': {
    promise: 0,
    behaviour:
      'The usage of a tenant with names without number is summed up within bounded memory, once at a time, and not for who has left.',
  },
  'hostile.shares.learned': {
    promise: 0,
    behaviour:
      'What a provider answers to one tenant changes nothing of what is sent for another, nor what its models are thought to take.',
  },
  'hostile.shares.deleted': {
    promise: 0,
    behaviour: 'A deleted session leaves no rows, contents or folders of its files, whichever process held them.',
  },
  'hostile.requests.fuzz': {
    promise: 0,
    behaviour:
      'Requests made up from the OpenAPI document are answered without a failure inside, each refusal as problem+json, within bounded memory.',
  },
  'hostile.requests.malformed': {
    promise: 0,
    behaviour: 'What is no proper HTTP request is refused with a problem or not answered, on both address families, and nothing is done.',
  },
  'hostile.requests.slow': { promise: 0, behaviour: 'Requests that arrive too slowly are cut off, while others are served.' },
  'hostile.requests.unread': {
    promise: 0,
    behaviour: 'A client that asks again and again and reads no answer is cut off, and fills no memory.',
  },
  'hostile.requests.connections': {
    promise: 0,
    behaviour: 'More connections than the process can hold are refused, and it serves again when they are gone.',
  },
  'hostile.words.simulator': {
    promise: 0,
    behaviour: 'What anybody says to the simulator holds nobody up and ends no process, and its port answers no other program.',
  },
  'hostile.words.pages': { promise: 0, behaviour: 'A page of long rows has fewer, leaves out none, and holds nobody up.' },
  'hostile.words.dear': { promise: 0, behaviour: 'Names, searches and runs that are dear to compare or to queue hold nobody up.' },
  'hostile.words.stored': {
    promise: 0,
    behaviour: 'Ids and numbers that no column of a database holds are refused in words, or found nowhere.',
  },
  'hostile.stall.bodies': {
    promise: 0,
    behaviour: 'Each endpoint takes so many bytes and values; what is wrong is told within 16 KB, and nobody waits for it.',
  },
  'hostile.stall.arguments': { promise: 0, behaviour: 'Arguments of tools that are large or wrong in large numbers hold nobody up.' },
  'hostile.stall.schemas': {
    promise: 0,
    behaviour: 'A schema that cannot be checked against is refused when it comes, with the place; one that can be holds nobody up.',
  },
  'hostile.stall.verdicts': { promise: 0, behaviour: 'A check against a schema says what the schema means, within counted steps.' },
  'hostile.stall.patterns': { promise: 0, behaviour: 'A pattern says what JavaScript says, in time proportional to the text.' },
  'hostile.stall.stored': {
    promise: 0,
    behaviour:
      'A run of an agent that was stored with a schema that is no longer taken is refused in words, and nothing else is disturbed.',
  },
  'hostile.policy.hosts': { promise: 0, behaviour: 'A host that is denied is reached in no spelling, and by no redirect.' },
  'hostile.policy.redirects': {
    promise: 0,
    behaviour: 'Each hop of a redirect is asked about, and no header that may hold a secret goes along to another origin.',
  },
  'hostile.policy.files': {
    promise: 0,
    behaviour: 'A file that policy forbids is read and written by no tool, whether or not an argument names it.',
  },
  'hostile.policy.permits': {
    promise: 0,
    behaviour: "What a tenant's agent allows permits nothing by itself, and its name is not that of an agent which the operator trusts.",
  },
  'hostile.policy.intersection': {
    promise: 0,
    behaviour: 'What an agent of a tenant may do is what the operator, the agent and the session each allow.',
  },
  'hostile.policy.limits': { promise: 0, behaviour: 'A limit that an owner set is raised and removed by an owner only.' },
  'hostile.policy.own-approvals': { promise: 0, behaviour: 'A key does not allow what it asked for, unless that is granted to it.' },
  'hostile.steer.token': {
    promise: 0,
    behaviour:
      'On loopback the operator is who brings the token of a file that only its user can read, made anew at each start and told nowhere.',
  },
  'hostile.steer.visitor': {
    promise: 3,
    behaviour: 'Any other program on the machine reads nothing of others and names no agent, model or session.',
  },
  'hostile.steer.plan': { promise: 0, behaviour: 'The lines of curl and ab go on working without a key or token.' },
  'hostile.steer.proxy': {
    promise: 3,
    behaviour: 'What a proxy passes on is never the local operator, whatever headers come or do not come.',
  },
  'hostile.steer.none': { promise: 3, behaviour: 'A setting demands keys on loopback too.' },
  'hostile.steer.get': {
    promise: 3,
    behaviour: 'A GET starts nothing of the caller, and at most the greeting run for what is provably no browser.',
  },
  'hostile.steer.browser': {
    promise: 3,
    behaviour: 'No page of a hostile site starts or changes anything, in a real browser, by any of 62 ways.',
  },
  'hostile.steer.own-listeners': {
    promise: 4,
    behaviour: 'No tool reaches a port of its own server, in any spelling, whatever is granted.',
  },
  'hostile.steer.client': {
    promise: 0,
    behaviour: 'The client finds the token by itself and sends it to no other address and no other program.',
  },
  'hostile.steer.found-file': {
    promise: 0,
    behaviour: 'A configuration file that is only found in the current folder sends no secret of the environment elsewhere.',
  },
  'hostile.provider.heads': { promise: 0, behaviour: 'Heads of answers that do not end, many at once, hold nobody up.' },
  'hostile.provider.turns': {
    promise: 0,
    behaviour: 'Answers in tiny pieces, many at once, take little memory, and those who read other answers read on.',
  },
  'hostile.provider.labels': {
    promise: 0,
    behaviour: 'Whatever names are made up in requests, runs, tools and answers of providers, the metrics get no series for them.',
  },
  'hostile.provider.answers': {
    promise: 0,
    behaviour: 'Whatever a provider answers, the attempt ends as a typed failure, nobody else waits, and memory is bounded.',
  },
  'hostile.provider.charged': {
    promise: 1,
    behaviour: 'Whatever a provider claims or sends, no more is booked for an attempt than was granted and one stated chunk.',
  },
  'hostile.provider.pages': {
    promise: 0,
    behaviour: 'Whatever a page holds, it is reduced to text in time linear in its length, in slices, and what is read of it is bounded.',
  },
  'hostile.provider.readers': {
    promise: 0,
    behaviour: 'A reader that does not read costs bounded memory, whatever the log holds.',
  },
  'hostile.leak.provider': {
    promise: 0,
    behaviour: 'A key that a provider repeats, in any spelling and place, reaches no client, no journal, no log and no database.',
  },
  'hostile.leak.model': {
    promise: 0,
    behaviour: 'A secret that a model says is taken out, whatever the pieces it comes in, and the rest of its words stay.',
  },
  'hostile.leak.log': { promise: 0, behaviour: 'No line of the log holds a secret of the configuration, in whatever field.' },
  'hostile.leak.settings': {
    promise: 0,
    behaviour: 'What a setting that may hold a secret was given is repeated by no command and no error, however it is written.',
  },
  'hostile.leak.files': {
    promise: 0,
    behaviour: 'Files of a data folder are of its user alone, whatever they were before, or the start says why not.',
  },
  'hostile.leak.visible': {
    promise: 0,
    behaviour: 'Nothing that a terminal obeys or that nobody sees is printed by a command or written to the log.',
  },
  'hostile.leak.paths': { promise: 0, behaviour: 'No path of the host is told to a client or to a model.' },
  'hostile.known.sessions': { promise: 0, behaviour: 'A session goes on after any answer of a provider; each call has its own result.' },
  'hostile.known.approvals': { promise: 0, behaviour: 'Who allows one of several calls allows that one, once, with what is shown.' },
  'hostile.known.long-names': { promise: 0, behaviour: 'The longest names are kept and listed; longer ones fail their own call alone.' },
  'hostile.known.key': { promise: 0, behaviour: 'A key follows no redirect of its provider, and is shown in no address.' },
  'hostile.known.callers': { promise: 0, behaviour: 'The same idempotency key gives no caller the answer of another.' },
  'hostile.known.places': { promise: 0, behaviour: 'No cursor, event id, type of a body or line end goes round a check.' },
  'hostile.known.bounded': { promise: 0, behaviour: 'Definitions that expand, or call themselves, end at their bounds.' },
  'hostile.known.connections': { promise: 0, behaviour: 'Connections that the database ends, end no process and lose no run.' },
  'hostile.known.pages': { promise: 0, behaviour: 'A page that answers oddly fails its own fetch, and leads nowhere else.' },
} as const satisfies Record<string, Requirement>;
