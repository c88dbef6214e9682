import type { Requirement } from './hostile-requirements.ts';

/** What others bring: MCP servers and plugins, and this platform as an MCP server. Part of `requirements.ts`. */
export const mcpRequirements = {
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
  'tools.mcp.oauth.login': {
    promise: 3,
    behaviour:
      'A person logs in to an MCP server by the authorization of MCP, with PKCE: the state that comes back is of this server, tenant and person, and counts once and not for long. Until then, and when more is to be permitted, a call says `login_required`.',
  },
  'tools.mcp.oauth.browser': {
    promise: 3,
    behaviour:
      'A login counts in the browser that it was begun in only: there a page says who wants the account and for what, and takes the code that only who began it was shown. A link that somebody sends, with or without the code, binds no account.',
  },
  'tools.mcp.oauth.own': {
    promise: 3,
    behaviour:
      'With a secret or a key of the operator a token is asked for without a person; the secret goes to its hosts only, for its issuer.',
  },
  'tools.mcp.oauth.sealed': {
    promise: 3,
    behaviour:
      'Tokens are in the database sealed for their tenant and server, and are nothing anywhere else, under another key or for another address; without a key they are refused.',
  },
  'tools.mcp.oauth.refresh': {
    promise: 2,
    behaviour:
      'A token that ends is renewed once, however many calls and processes need it; one that cannot be renewed now is not given up.',
  },
  'tools.mcp.oauth.hidden': {
    promise: 3,
    behaviour: 'No token is in an answer of the API, a result, an error, a log or the journal, also where the MCP server repeats it.',
  },
  'tools.mcp.oauth.hostile': {
    promise: 4,
    behaviour:
      'An authorization server that hangs, floods, redirects, names another issuer or resource, lies about tokens or refuses each ends a login or call with an error that says so, after a bounded number of requests.',
  },
  'mcp.client.conforms': {
    promise: 3,
    behaviour: 'What each frozen revision of MCP requires of a client passes whole in the official suite.',
  },
  'tools.mcp.lost': {
    promise: 2,
    behaviour:
      'A call of an MCP tool that is cut off within has an unknown outcome with `effects: once`, and the server is told of a cancelled one.',
  },
  'tools.mcp.hostile': {
    promise: 4,
    behaviour: 'An MCP server that hangs, floods, lies or dies holds up no other call, grows no memory without bound and crashes nothing.',
  },
  'tools.mcp.elicitation': {
    promise: 3,
    behaviour:
      'A server that its definition lets ask puts a form or an address before a person in the midst of a call: policy decides, the answer fits the form, and the time of the call stands still.',
  },
  'tools.mcp.sampling': {
    promise: 3,
    behaviour:
      'Where a definition names an agent, it answers when the server asks for a model: as a run of its own, under policy and the budget of the run.',
  },
  'tools.mcp.asking.held': {
    promise: 3,
    behaviour:
      'A conversation of the former revision is held while somebody is asked, by one call alone; what ends the run ends it, and one that is lost has an unknown outcome.',
  },
  'tools.mcp.asking.killed': {
    promise: 4,
    behaviour:
      'A kill while a person is asked costs a call of the later revision nothing; one of the former is begun anew or asked about, by its effects.',
  },
  'tools.mcp.asking.bounds': {
    promise: 4,
    behaviour: 'What a server asks is bounded in number, rounds and size, and refused outside of a call of a run.',
  },
  'tools.mcp.programs': {
    promise: 4,
    behaviour:
      'An MCP server that is a program runs in a jail, without network and with what it was granted only; where nothing can be jailed, or the operator allows none, it is refused.',
  },
  'tools.mcp.programs.public': {
    promise: 3,
    behaviour:
      'A public package of npm that speaks MCP is added, inspected and used by an agent as it comes, in a jail that it cannot write to.',
  },
  'tools.mcp.programs.end': {
    promise: 4,
    behaviour:
      'A program that floods, prints garbage, is silent, dies or forks harms nobody else; with its connection nothing of it is left, and the next call starts it anew.',
  },
  'tools.mcp.programs.ends': {
    promise: 4,
    behaviour:
      'A program is asked to end by its input, then by SIGTERM, before it is killed with all that it started; one that ends itself again and again is left alone for longer each time, and works at once when it works again.',
  },
  'tools.mcp.programs.revisions': {
    promise: 3,
    behaviour:
      'Programs that speak the revision 2026-07-28, 2025-11-25 or both are used; one that ends itself, or says nothing, when it is asked for the later one is spoken to in the former, at once the next time.',
  },
  'tools.mcp.import': {
    promise: 3,
    behaviour: 'A file of MCP servers as other clients have it is taken whole, or it is said which of them cannot be and why.',
  },
  'tools.mcp.declared': {
    promise: 3,
    behaviour:
      'MCP servers that an agent declares, as other clients write them, are the tenant’s; the agent is offered their tools, or those that it names, and policy decides each call.',
  },
  'tools.mcp.declared.same': {
    promise: 3,
    behaviour:
      'A declared MCP server takes the place of none: one that differs from the tenant’s of its name is a conflict, and nothing of that one is offered to the agent.',
  },
  'tools.mcp.declared.asked': {
    promise: 3,
    behaviour: 'Whoever may store agents adds an MCP server with one only where policy lets them administer tools; else nothing is stored.',
  },
  'tools.mcp.declared.secrets': {
    promise: 3,
    behaviour:
      'A secret in what was pasted is refused, with the place and without the value; granted by name it goes where the operator says.',
  },
  'tools.mcp.declared.grants': { promise: 3, behaviour: 'What other clients approve calls with grants nothing.' },
  'tools.mcp.declared.files': {
    promise: 4,
    behaviour:
      'MCP servers of agents in files are added in the background: a start waits for none, one that cannot be reached is tried again a few times, and what is no longer declared stays until it is removed.',
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
  'mcp.server.waits.told': {
    promise: 3,
    behaviour:
      'A call over MCP never hangs on a person: what a sub-agent waits for is put to the client as well, and a client that takes no questions, does not answer in time or answers nonsense is told what waits, where to approve it and where the answer will be.',
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
  'plugins.replace': {
    promise: 3,
    behaviour:
      'A plugin that would take the place of another shows what it asks for beyond that; an older version, or one whose predecessor changed since, is refused.',
  },
  'plugins.author': {
    promise: 3,
    behaviour: 'Who tries a plugin out before it is installed is told of wrong arguments and results as a server tells them.',
  },
  'plugins.keys': {
    promise: 4,
    behaviour:
      'A tenant trusts keys of its own, several under one name: what a key signed stops with it, and a revoked key is refused whatever else is said.',
  },
  'plugins.programs.granted': {
    promise: 4,
    behaviour: 'A plugin that is a program runs for nobody whom the operator has not named, and nowhere without a jail.',
  },
  'plugins.programs.jail': {
    promise: 4,
    behaviour:
      'The program of a plugin has its own files, which it cannot change, no network, no other limits than it may have, and a process for each tenant.',
  },
  'plugins.programs.honest': {
    promise: 3,
    behaviour: 'A program that lists other tools than its manifest is not called, and its caller is told how it differs.',
  },
  'plugins.programs.end': {
    promise: 3,
    behaviour:
      'A program that is silent, floods, dies or stays leaves nothing behind, and the next call has a new one; so does the death of its server.',
  },
  'plugins.programs.swap': {
    promise: 2,
    behaviour:
      'A program is replaced or removed while 50 calls run: each ends with its version, none fails, and it ends with its files after the last one.',
  },
  'plugins.npm': {
    promise: 3,
    behaviour:
      'A package of npm is fetched from the registry of the user without running anything of it, and refused where the registry sends something else than it says.',
  },
} as const satisfies Record<string, Requirement>;
