import { hostileRequirements, type Requirement } from './hostile-requirements.ts';
import { mcpRequirements } from './mcp-requirements.ts';
import { toolRequirements } from './tool-requirements.ts';

/**
 * What Nexus Agent promises, one line each. Data only: tests cite an id (see `support/verifies.ts`), and `npm run verify` fails
 * when a requirement has no test or a test cites an id that is not here.
 *
 * Promises: 1 a budget is never overspent, 2 a run survives kill -9, 3 nothing runs unless policy allows it,
 * 4 code that models write cannot hurt the host, 5 every decision can be seen and proved. 0 is what all of them stand on.
 */

export const requirements = {
  ...hostileRequirements,
  ...mcpRequirements,
  ...toolRequirements,
  // Budgets
  'budget.race.exact': {
    promise: 1,
    behaviour: 'Of 1,000 concurrent reservations against a limit for 137, exactly 137 are admitted, on both databases.',
  },
  'budget.race.processes': { promise: 1, behaviour: 'The same holds when three processes share one database.' },
  'budget.invariants': {
    promise: 1,
    behaviour:
      'After random interleavings of reserve, settle, release, expire and duplicates, spent + reserved <= limit and the sums match the ledger.',
  },
  'budget.invariants.kill': { promise: 1, behaviour: 'The invariants hold after processes are killed in between.' },
  'budget.idempotent': { promise: 1, behaviour: 'A reservation id reserves once and settles once; a repeat gives the first answer.' },
  'budget.refusal.names': {
    promise: 1,
    behaviour: 'A refusal names the scope, the unit, what was asked and what is left, and leaves no trace in any scope.',
  },
  'budget.window.rolls': { promise: 1, behaviour: 'A day or month window starts anew at its boundary; total never does.' },
  'budget.window.counted': {
    promise: 1,
    behaviour: 'A new limit begins with what was spent in its window, exactly, also while others book.',
  },
  'budget.user.default': {
    promise: 1,
    behaviour: 'A limit for every user holds for each who has none of their own, with what they have spent already.',
  },
  'budget.usage': {
    promise: 1,
    behaviour: 'What was spent is summed by day, user, agent, model and project, of one tenant, to the last micro-dollar.',
  },
  'budget.expiry.charged': { promise: 1, behaviour: 'An expired reservation is charged its maximum.' },
  'budget.late.usage': { promise: 1, behaviour: 'A settlement after expiry books the excess as late usage and flags it.' },
  'budget.max-tokens.clamped': {
    promise: 1,
    behaviour: 'A model call asks for no more output than the budget affords, and is refused below a useful minimum.',
  },
  'budget.model.reserved': {
    promise: 1,
    behaviour: 'Every model attempt, retries and fallbacks included, is reserved before and billed after.',
  },
  'budget.input.bound': {
    promise: 1,
    behaviour: 'What is reserved for the input of a model call is never below its tokens, in any kind of text and any kind of vocabulary.',
  },
  'budget.input.counted': {
    promise: 1,
    behaviour: 'Before a budget refuses a model call for what its input may cost, the input is counted by its tokenizer or its provider.',
  },
  'budget.billed': {
    promise: 1,
    behaviour:
      'A provider that bills by real tokenizers and misbehaves in every way bills no more than the limit, but for what a server writes beyond limits that it ignores before it hears that nobody reads.',
  },
  'budget.grant.read': {
    promise: 1,
    behaviour: 'An answer is read no further than its grant, whatever the server sends, and one that goes on beyond it is flagged.',
  },
  'budget.unknown.charged': {
    promise: 1,
    behaviour: 'Use that is not known is charged; free is only what was not sent or what the provider refused.',
  },
  'budget.limit.in-flight': {
    promise: 1,
    behaviour: 'A limit that is set while work is in flight counts what that holds and books what it uses, exactly, also under races.',
  },
  'budget.kill.bounded': {
    promise: 1,
    behaviour:
      'Work that a kill cut off is charged the least that is known to be enough: never less than is billed, never more than was held.',
  },
  'budget.repeat.counted': {
    promise: 1,
    behaviour: 'Each attempt of a call that may reach the world is reserved and counted, and refused when the budget has no more.',
  },
  'budget.totals.ledger': {
    promise: 1,
    behaviour: 'The totals of a run in its events, its row and its view are those of its ledger, whoever closed its reservations.',
  },
  'budget.wall.union': { promise: 1, behaviour: 'Time that calls of a run take side by side is held and booked once.' },
  'budget.admission.waits': {
    promise: 1,
    behaviour: 'A call that only reservations of others stand in the way of waits for them, in turn and for a bounded time.',
  },
  'budget.admission.passes': {
    promise: 1,
    behaviour: 'While a large call waits, smaller ones that fit go before it, until it has waited for half of its time.',
  },
  'budget.admission.contended': {
    promise: 1,
    behaviour: 'What only open reservations stand in the way of is refused as contended, to be tried again, and never as exhausted.',
  },
  'budget.admission.expiry': {
    promise: 1,
    behaviour: 'A reservation whose holder died is closed when it expires, and wakes those that wait, in other processes as well.',
  },
  'budget.tool.reserved': { promise: 1, behaviour: 'Every tool call is reserved before it runs and settled after.' },
  'budget.cancel.leaks-nothing': {
    promise: 1,
    behaviour: 'A cancelled or disconnected stream is settled for what was used; nothing stays reserved.',
  },
  'budget.refused.resumable': {
    promise: 1,
    behaviour: 'A run that its budget refuses fails with the refusal and can be resumed after a raise.',
  },
  'budget.child.carved': { promise: 1, behaviour: "A sub-agent's budget is carved from its parent's and the rest returns." },
  'budget.price.unknown': { promise: 1, behaviour: 'A model without a known price is refused by default, never taken as free.' },

  'budget.scope.known': {
    promise: 1,
    behaviour: 'A limit of an agent, session, run or tenant that is not there is refused with the nearest name.',
  },

  // Queues
  'sandbox.engine.clean': {
    promise: 4,
    behaviour: 'An engine that serves a second program is as it was made: nothing of the first one is left in it.',
  },
  'queue.turns': {
    promise: 0,
    behaviour: 'Tenants, their sessions and their runs take turns; nobody starves, no place and no wake-up is lost.',
  },
  'queue.bounded-by-time': {
    promise: 0,
    behaviour:
      'A tool call waits for its turn as long as its time and the settings allow, however many wait, and is then told to try again.',
  },
  'queue.bounded-memory': {
    promise: 0,
    behaviour: 'What waits for a thread holds no files, and how many may wait in a process is bounded.',
  },
  'queue.thread-breaks': { promise: 2, behaviour: 'A program whose thread breaks keeps its turn and runs once more.' },
  'queue.under-load': { promise: 0, behaviour: 'Fifty runs that each start four programs at once all get their results.' },
  'queue.visible': {
    promise: 5,
    behaviour: 'How long a call waited is in its event, its span and the metrics, and counts for the wall time of its run.',
  },

  // Durability
  'durability.kill.every-boundary': {
    promise: 2,
    behaviour: 'A run killed with SIGKILL at each step boundary completes elsewhere with each finished step run once.',
  },
  'durability.kill.mid-step': { promise: 2, behaviour: 'The same when killed in the middle of each step.' },
  'sim.holds': {
    promise: 2,
    behaviour:
      'Clusters of 2 to 4 nodes that crash, stand still, lose answers, messages and time keep every promise, from each seed: 40 in the tests, 200 in the whole check.',
  },
  'sim.isolation': {
    promise: 1,
    behaviour:
      'Transactions of several nodes keep every promise in whatever order their statements reach the database, answers to COMMIT lost among them: on both databases, from each seed.',
  },
  'sim.deterministic': { promise: 5, behaviour: 'The same seed gives the same events at the same times, to the last byte.' },
  'sim.shrinks': {
    promise: 0,
    behaviour: 'A plan that fails is shrunk to fewer faults, conversations and nodes that fail in the same way.',
  },
  'model.same': {
    promise: 1,
    behaviour:
      'Under random sequences a store on either database answers and keeps what the reference model of budgets, runs and sessions does.',
  },
  'invariant.refused': {
    promise: 1,
    behaviour: 'A commit that finds rows which contradict each other writes nothing, and those beside it are not concerned.',
  },
  'invariant.told': {
    promise: 5,
    behaviour: 'Such a commit is counted, and told in the log once in a while with ids and numbers, and no word of a person or a model.',
  },
  'sim.kept': { promise: 2, behaviour: 'Plans that broke something once are kept, and break nothing.' },
  'sim.command': { promise: 0, behaviour: '`nexus sim` runs seeds, shows one as a timeline of all nodes, and replays a plan from a file.' },
  'durability.kill.random': {
    promise: 2,
    behaviour:
      'The same at random moments under load, on both databases, with budgets that balance: 20 deaths in the tests, 100 in the whole check.',
  },
  'durability.model.once': { promise: 2, behaviour: 'A model call whose answer is journalled is not made again.' },
  'durability.takeover': { promise: 2, behaviour: 'Another worker takes a lost run over within 5 s.' },
  'durability.clock': {
    promise: 2,
    behaviour:
      'A process that comes back under a clock that was set, or beside one, takes its runs over at once and takes none that is driven.',
  },
  'durability.effects.once': {
    promise: 2,
    behaviour: 'A tool with effects once and an unknown outcome is never run again without a person saying so.',
  },
  'durability.effects.idempotent': {
    promise: 2,
    behaviour: 'A tool in flight that may be repeated is repeated under the same idempotency key.',
  },
  'durability.fencing': { promise: 2, behaviour: 'A worker that was paused and lost its lease cannot write.' },
  'durability.log.gap-free': {
    promise: 2,
    behaviour: 'The event log of a run has no gap and no duplicate, and no acknowledged event is lost.',
  },
  'run.background.any': {
    promise: 0,
    behaviour: 'A background run is driven by whichever process has time: one that is busy leaves it to one that is not.',
  },
  'run.turns': {
    promise: 0,
    behaviour: 'A single run of a tenant is taken with the next claim, whatever another tenant has waiting, on both databases.',
  },
  'session.queue.race': {
    promise: 0,
    behaviour: 'Runs of one session that race work one at a time, and each of them begins, with two processes on both databases.',
  },
  'session.log.cancelled': {
    promise: 0,
    behaviour: 'The run after one that was cancelled is shown what was asked, what was done, and that it was cancelled.',
  },
  'session.log.exact': {
    promise: 0,
    behaviour:
      'After runs that completed, failed, were cancelled, wait or were approved later, in any order, the next one is shown each tool call with effects once, in the order of the messages, in a form that a strict server takes.',
  },
  'durability.replay.same-state': {
    promise: 2,
    behaviour: 'Replaying a journal gives the recorded state, for every run that the tests record.',
  },
  'run.fork.as-start': {
    promise: 3,
    behaviour: 'A fork is held to what a run is held to when it is started: input, agent, model, policy, session and budget.',
  },
  'run.resume.closed': { promise: 2, behaviour: 'Nothing is resumed into a session that is closed, also when both happen at once.' },
  'durability.fork': { promise: 2, behaviour: 'A fork starts from a step with edits and leaves the original as it was.' },
  'durability.drain': { promise: 2, behaviour: 'On SIGTERM a worker hands its runs over and ends; none is lost.' },
  'durability.lost-answers': {
    promise: 2,
    behaviour: 'A request whose change was made, and whose answer was lost with the connection, is carried out once when it is repeated.',
  },
  'durability.drain.starting': {
    promise: 2,
    behaviour: 'A server that is told to end while it starts does, with 0, and leaves no run to a lease that has to end.',
  },
  'durability.drain.launcher': {
    promise: 2,
    behaviour:
      'A server that runs as the child of its launcher drains and ends once the launcher is killed, and leaves the port and the database.',
  },
  'durability.drain.migrating': {
    promise: 2,
    behaviour: 'On SIGTERM a process that waits to migrate, or migrates, ends at once and leaves the schema whole.',
  },
  'durability.drain.tool': {
    promise: 2,
    behaviour:
      'On SIGTERM while a tool runs its result is kept where it comes in time; else another process goes on at once, without the lease running out.',
  },
  'durability.drain.twice': { promise: 2, behaviour: 'Told twice it ends at once, and no run is lost or repeated.' },
  'durability.known': {
    promise: 2,
    behaviour: 'What is known to have broken durable runs of comparable systems does not break these.',
  },
  'durability.cancel': { promise: 2, behaviour: 'Cancelling stops the upstream request and the tools, and the run ends cancelled.' },
  'durability.cancel.elsewhere': {
    promise: 2,
    behaviour: 'A cancel reaches the process that drives the run within a second, also where no bus joins them.',
  },
  'durability.wait.no-memory': { promise: 2, behaviour: 'A waiting run survives a restart of every process.' },
  'durability.compaction': { promise: 2, behaviour: 'A context that outgrows the model is summarised and journalled, never cut silently.' },
  'durability.limits': { promise: 2, behaviour: 'Step limits, deadlines and loop detection end a run in a stated way.' },
  'storage.conformance': { promise: 2, behaviour: 'Every store passes one conformance suite on SQLite and on Postgres.' },
  'retention.bounded': {
    promise: 2,
    behaviour: 'What is older than it is kept goes in bounded steps, never what is live, waiting or open, and never of another tenant.',
  },
  'retention.books': {
    promise: 1,
    behaviour: 'The books are equal before and after entries are folded into the sums of their days and deleted.',
  },
  'retention.kill': {
    promise: 2,
    behaviour: 'A deletion that is cut off in the middle leaves nothing half readable, and the next look finishes it.',
  },
  'files.contents': {
    promise: 2,
    behaviour: 'What files held is removed once no file of any session has it, and never under a process that is writing the same.',
  },
  'session.delete': {
    promise: 2,
    behaviour: 'A deleted session is gone with its runs, journals, approvals, balances and files, once its live runs have ended.',
  },
  'storage.pieces': {
    promise: 2,
    behaviour: 'However much is read or summed up, no process is kept from renewing its lease: others do not take its runs.',
  },
  'storage.plans': {
    promise: 0,
    behaviour:
      'No statement of the store reads, sorts or passes over more than it answers, however large a database, a tenant or a session is.',
  },
  'storage.schema.newer': { promise: 2, behaviour: 'A database migrated by newer code is refused.' },

  // Policy
  'policy.default.deny': { promise: 3, behaviour: 'What no policy permits is denied.' },
  'policy.error.denies': { promise: 3, behaviour: 'A policy whose evaluation errors denies, also when another permits.' },
  'policy.every-path': { promise: 3, behaviour: 'Every path that runs a tool or a model records a decision first.' },
  'policy.arguments.actual': { promise: 3, behaviour: 'A tool call is decided on the arguments it runs with, each time.' },
  'start.warm': {
    promise: 0,
    behaviour:
      'What a first run needs is made ready after readiness while nobody is served; that writes nothing, fails without harm, and ends with the server.',
  },
  'policy.slice.full': { promise: 3, behaviour: 'Deciding on a slice of the policies gives the answer of the full set.' },
  'policy.schema.validated': { promise: 3, behaviour: 'A policy that does not fit the schema is refused with the place of the fault.' },
  'policy.one-form': {
    promise: 3,
    behaviour:
      'Hosts and paths of files are compared in one form; a policy that writes them in another, so that it would never apply, is refused.',
  },
  'keys.revoked.stream': {
    promise: 3,
    behaviour: 'A reader whose key is revoked or expires in the middle of a stream is told so and reads no further; the run goes on.',
  },
  'keys.grant': {
    promise: 3,
    behaviour:
      'A key gives only scopes and roles that it has itself, and for no longer, unless it is an owner; roles are the same in capital and small letters.',
  },
  'keys.tenants': {
    promise: 3,
    behaviour: 'An owner makes, lists and revokes the keys of every tenant; nobody else sees or revokes one of another tenant.',
  },
  'policy.asked': {
    promise: 3,
    behaviour:
      'Every action that a policy can name is asked: administration before it is done, and what nothing asks is refused when a policy is loaded.',
  },
  'policy.obligation.unknown': {
    promise: 3,
    behaviour: 'A policy with an obligation that is not known is refused when it is loaded; one that is in force already denies.',
  },
  'tools.given.checked': {
    promise: 3,
    behaviour: 'A tool whose definition is wrong in any field is refused at the start, with the place and what would be right.',
  },
  'policy.obligation.cap-tokens': { promise: 3, behaviour: 'cap_tokens bounds the output that a model call asks for.' },
  'policy.short-form': {
    promise: 3,
    behaviour: 'The allow, deny and approve lists of agents and sessions compile to policies with the same meaning.',
  },
  'policy.explains': { promise: 3, behaviour: 'A denial names the policies that decided and what the caller may do.' },
  'approval.restart': { promise: 3, behaviour: 'An approval survives a restart, and its answer continues the run.' },
  'approval.refused-stays': {
    promise: 3,
    behaviour:
      'An answer that allows what could not run (arguments that do not fit, or that the policies now in force forbid) is refused with the reason, and the question waits on.',
  },
  'approval.exact-arguments': {
    promise: 3,
    behaviour: 'An approval lets exactly the approved arguments through, and is decided again after the answer.',
  },
  'approval.once': { promise: 3, behaviour: 'An approval has one answer and one decision that permits it, however often it is answered.' },
  'approval.withdrawn': {
    promise: 3,
    behaviour: 'A question that nobody needs answered any more is closed, also one that is asked and withdrawn at once.',
  },
  'approval.role': {
    promise: 3,
    behaviour:
      "An approval that asks for a role is answered by who has it or by the owner, and by nobody else; the refusal names the role and nobody's keys.",
  },
  'approval.deadline': { promise: 3, behaviour: 'An approval that nobody answers takes its default at its deadline.' },

  'agents.vain': {
    promise: 3,
    behaviour: 'A tool that an agent is offered and that no policy can ever permit it is told where the definition is stored or loaded.',
  },
  'agents.names': {
    promise: 3,
    behaviour:
      'A tool, agent or model that a definition names and that there is not is told where the definition is stored or loaded, with the nearest name.',
  },
  'agents.own': { promise: 3, behaviour: 'An agent that a tenant put stays its current one, whoever reads and whatever the files say.' },

  // Sandbox and tools
  'sandbox.fuel.deterministic': { promise: 4, behaviour: 'Fuel stops the same code at the same count each time.' },
  'sandbox.loop': { promise: 4, behaviour: 'An endless loop, in microtasks too, ends in a typed error.' },
  'sandbox.regex': { promise: 4, behaviour: 'A catastrophic regular expression ends in a typed error.' },
  'sandbox.memory': { promise: 4, behaviour: 'An allocation bomb ends in a typed error and the host keeps its memory.' },
  'sandbox.recursion': { promise: 4, behaviour: 'Deep recursion ends in a typed error.' },
  'sandbox.escape': { promise: 4, behaviour: 'Sandboxed code reaches no host object, file, clock of the host or network.' },
  'sandbox.output': { promise: 4, behaviour: 'An output flood is cut at its limit with a typed error.' },
  'sandbox.event-loop': { promise: 4, behaviour: "None of this stalls the server's event loop over 250 ms." },
  'files.committed': { promise: 2, behaviour: 'Files that a tool writes are committed with its result, or never were.' },
  'files.takeover': { promise: 2, behaviour: 'A process that takes a run over sees exactly the files that its journal knows.' },
  'files.fork': { promise: 2, behaviour: 'A fork begins with the files as of its step; those of the original stay as they are.' },
  'files.blobs': {
    promise: 2,
    behaviour: 'Contents are put before the commit that names them, and never given unless their hash is right.',
  },
  'files.bounded': { promise: 4, behaviour: 'Files have limits per file, call, session and tenant, and say so when one is met.' },
  'tools.workspace.confined': { promise: 4, behaviour: 'File tools stay inside the workspace, through links and races.' },
  'tools.http.private': {
    promise: 4,
    behaviour: 'http_fetch reaches no private address on any hop, rebinding included, unless it was granted.',
  },
  'tools.schema': { promise: 4, behaviour: 'Arguments that do not fit the schema never reach the tool; the model is told what is wrong.' },
  'tools.error.result': { promise: 4, behaviour: 'A tool that fails gives the model a result to act on.' },
  'tools.order': { promise: 2, behaviour: 'Parallel results reach the model in the order in which it asked.' },
  'tools.bounded': { promise: 4, behaviour: 'No more than the configured number of tool calls run at once, each within its time.' },

  // Streams
  'stream.resume.exact': {
    promise: 2,
    behaviour: 'After 2,000 disconnects and resumes at random points a client has exactly the text and events of an undisturbed one.',
  },
  'stream.resume.process': { promise: 2, behaviour: 'A stream resumes from another process.' },
  'stream.end.at-once': {
    promise: 0,
    behaviour: 'A reader hears that a run has ended, or waits, at once: not after the time that joins its events.',
  },
  'stream.tenant': { promise: 3, behaviour: "Another tenant's stream is refused." },
  'stream.slow-reader': {
    promise: 4,
    behaviour: 'A slow reader costs bounded memory and is detached with stream.lagged, from which it can resume.',
  },
  'stream.detach': { promise: 2, behaviour: 'Disconnecting detaches and the run goes on; only cancelling stops it.' },

  // Models
  'provider.context.learned': {
    promise: 2,
    behaviour:
      'A refusal as too long teaches what the model takes; the run summarises, sends again within a bound, and keeps it in its journal.',
  },
  'provider.script': {
    promise: 5,
    behaviour: 'A script in a message says what the simulator does, turn by turn, and a script that cannot be read is answered with why.',
  },
  'provider.newcomer': {
    promise: 5,
    behaviour: 'With one key or one local server every example and the default agent answer with the real model.',
  },
  'provider.cut.error': { promise: 2, behaviour: 'A stream without its terminal event is an error or a fallback, never a short answer.' },
  'provider.stall.timeout': { promise: 2, behaviour: 'A stalled stream ends at the idle timeout, a slow one at the total deadline.' },
  'provider.connection.idle': {
    promise: 2,
    behaviour:
      'A request whose kept connection is lost is charged as one whose end is unknown, and sent again only as an attempt that is reserved for.',
  },
  'provider.malformed': { promise: 2, behaviour: 'Malformed data ends in provider_malformed.' },
  'provider.retry': { promise: 2, behaviour: '429 and 5xx are retried within bounds, honouring Retry-After.' },
  'provider.fallback': { promise: 2, behaviour: 'A fallback happens in order, and only before the first token.' },
  'provider.codec.chunks': { promise: 2, behaviour: 'Any split of the bytes decodes to the same parts.' },
  'provider.usage': { promise: 1, behaviour: 'Cache and reasoning tokens are counted and priced.' },

  // Several nodes over one database
  'nodes.keys': { promise: 3, behaviour: 'An API key that is made on one node works on every other node of the database.' },
  'nodes.definitions.look': {
    promise: 3,
    behaviour: 'A command that only looks at a database imports no policies and agents of another folder into it.',
  },
  'nodes.definitions.order': {
    promise: 3,
    behaviour: 'Policies and agents are imported as versions, and a node that starts with an earlier version does not bring it back.',
  },
  'nodes.definitions.follow': {
    promise: 3,
    behaviour:
      'An imported version of policies and agents decides on every node within a second, without a bus; each decision is by one version.',
  },
  'nodes.definitions.broken': { promise: 3, behaviour: 'Files that cannot be used change nothing, and the node says so.' },
  'nodes.agents.own': { promise: 3, behaviour: "A tenant's own agent is never replaced by one of a file." },
  'nodes.start.together': { promise: 3, behaviour: 'Nodes that start together on an empty database agree on one secret and one version.' },

  // API, CLI, SDK
  'api.loopback.host': { promise: 3, behaviour: 'On loopback a foreign Host or Origin is refused, so a web page cannot drive the server.' },
  'api.cors': {
    promise: 3,
    behaviour: 'Pages of configured origins, and of no others, may call the API with a key and read its answers.',
  },
  'api.remote.auth': {
    promise: 3,
    behaviour: 'A server on another address than loopback refuses to start without authentication, and each request needs a key.',
  },
  'api.keys': { promise: 3, behaviour: 'A key is stored only as a hash, does what its scopes say, expires and can be revoked.' },
  'api.idempotency': {
    promise: 2,
    behaviour: 'A repeated POST with the same Idempotency-Key creates once; with another body it conflicts.',
  },
  'api.ab': { promise: 0, behaviour: 'ApacheBench creates sessions with the command of the README without a failure.' },
  'api.problem': { promise: 5, behaviour: 'Every error is a problem document with a code of the table and no stack, prompt or secret.' },
  'api.session.view': { promise: 1, behaviour: 'A session shows its budget as limit, spent and reserved.' },
  'api.openapi': { promise: 5, behaviour: 'The OpenAPI document is generated from the schemas and matches the routes.' },
  'api.bare-stream': { promise: 0, behaviour: "A bare GET of the chat stream from loopback streams the default agent's greeting." },
  'cli.refused': {
    promise: 0,
    behaviour: 'A command that a server does not let in says what it showed, where that came from, and what would open the server.',
  },
  'cli.progress': { promise: 0, behaviour: 'What tools print while they run is shown line by line to who follows a run, up to a bound.' },
  'cli.tools-run': {
    promise: 3,
    behaviour: 'nexus tools run tries a tool as an agent would be granted it, in a session of that agent that is closed after it.',
  },
  'cli.exit-codes': { promise: 0, behaviour: 'Commands end with documented exit codes, and --json prints only JSON.' },
  'cli.config': { promise: 0, behaviour: 'Flags beat the environment, which beats the file; printing the result redacts secrets.' },
  'sdk.resume': { promise: 2, behaviour: 'The client resumes a stream by itself, without gap or duplicate.' },
  'demo.off-terminal': { promise: 0, behaviour: 'The demo shows all of its scenes and exits 0 when it is not on a terminal.' },

  // Hostile input that stalls
  'policy.engine.broken': { promise: 0, behaviour: 'A question that breaks the policy engine is denied, and every later one is answered.' },

  // Seeing and proving
  'telemetry.trace.tree': {
    promise: 5,
    behaviour: 'One trace, the one of the request, holds run, steps, model and tools, and goes on in the next process.',
  },
  'telemetry.metrics': { promise: 5, behaviour: 'Metrics show runs, tools, budgets and event-loop lag, with no id in a label.' },
  'metrics.documented': {
    promise: 5,
    behaviour: 'Every metric is described with its kind and labels, and nothing that is described is missing.',
  },
  'metrics.move': { promise: 5, behaviour: 'Each metric moves when its thing happens, for all tenants, without naming any of them.' },
  'telemetry.no-keys': {
    promise: 5,
    behaviour: 'No line of the log holds a key of any known shape, wherever in it the key stands and wherever the line is cut.',
  },
  'telemetry.quiet': { promise: 5, behaviour: 'Logs and spans carry no prompt, tool content or secret unless that was turned on.' },
  'protocol.errors.pinned': { promise: 5, behaviour: 'The error table is pinned: a changed code or status fails a test.' },
  'protocol.fold': { promise: 5, behaviour: 'Every event on the stream fits its schema.' },
} as const satisfies Record<string, Requirement>;

export type RequirementId = keyof typeof requirements;
