/**
 * What the suite runs as the client: our MCP servers as a source of tools, with their connections, tokens and logins, over sockets. This
 * program is the operator who adds the server, and the person who logs in. Ends with 0 where what it was to do came about.
 */
import { type AskedForm, McpServerDefinition, type TenantId } from '../../packages/protocol/src/index.ts';
import { type ResumedCall, readFormAnswer, type ToolCallEnd } from '../../packages/server/src/tools/index.ts';
import { openLogin, startServers, tenant } from '../../packages/server/src/tools/sources/testing/index.ts';
import { makeToolCall, readCall, said } from '../../packages/server/src/tools/testing/index.ts';

const { MCP_CONFORMANCE_SCENARIO: scenario = '', MCP_CONFORMANCE_CONTEXT: context = '{}' } = process.env;
const url = process.argv.at(-1) ?? '';
const about = JSON.parse(context) as Readonly<Record<string, string | undefined>>;
const callback = new URL('http://127.0.0.1:9999/v1/mcp-logins/callback');
const maxLogins = 3;

const authOfScenario: Record<string, () => Promise<object>> = {
  'auth/basic-cimd': async () => ({ clientId: 'https://conformance-test.local/client-metadata.json' }),
  'auth/pre-registration': async () => ({
    ...{ grant: 'authorization_code', clientId: about.client_id, clientSecret: { secret: 'SECRET' }, issuer: about.issuer },
  }),
  'auth/client-credentials-basic': async () => ({
    clientId: about.client_id,
    clientSecret: { secret: 'SECRET' },
    issuer: await issuerOf(),
  }),
  'auth/client-credentials-jwt': async () => ({
    ...{ clientId: about.client_id, privateKey: { secret: 'SECRET' }, algorithm: about.signing_algorithm, issuer: await issuerOf() },
  }),
};

/** As an operator knows it. */
async function issuerOf(): Promise<string> {
  const answer = await fetch(new URL(`/.well-known/oauth-protected-resource${new URL(url).pathname}`, url));
  const { authorization_servers: [issuer = ''] = [] } = (await answer.json()) as { authorization_servers?: string[] };
  return issuer;
}

const auth = scenario.startsWith('auth/') ? { auth: { type: 'oauth', ...(await authOfScenario[scenario]?.()) } } : {};
const definition = McpServerDefinition.parse({ transport: { type: 'http', url }, trustHints: true, elicitation: true, ...auth });
const servers = startServers({
  ...{ connectTimeoutMs: 60_000, answerTimeoutMs: 60_000 }, // all scenarios run at once
  allowPrivate: (hostname) => hostname === 'localhost' || hostname === '127.0.0.1',
  secrets: [
    { name: 'SECRET', value: about.client_secret ?? about.private_key_pem ?? 'none', hosts: ['localhost', '127.0.0.1'], tenants: [tenant] },
  ],
});
const { administration, service } = servers;
const signal = AbortSignal.timeout(100_000);

/** What the browser of the person does: it goes where it is sent, and comes back. */
async function login(): Promise<void> {
  const { logins } = administration;
  const { address, cookies } = await openLogin(
    logins.open,
    await logins.begin(tenant, 'conf', { by: 'person', host: callback.host }, signal),
  );
  const answer = await fetch(address, { redirect: 'manual' });
  const back = new URL(answer.headers.get('location') ?? '', address);
  if (back.origin !== callback.origin) throw new Error(`the person was sent to ${back.origin}, with HTTP ${answer.status}`);
  const get = (name: string) => back.searchParams.get(name) ?? undefined;
  await logins.finish({ state: get('state') ?? '', code: get('code'), issuer: get('iss'), error: get('error'), cookies });
}

/** Does it, and logs in as often as a person has the patience to. */
async function patiently<Result>(work: () => Promise<Result>, needsLogin: (result: Result) => boolean): Promise<Result> {
  for (let logins = 0; ; logins++) {
    const result = await work();
    if (!needsLogin(result) || logins >= maxLogins) return result;
    await login();
  }
}

async function run(): Promise<void> {
  const seen = await patiently(
    () => administration.put(tenant, 'conf', definition, signal),
    ({ fault = '' }) => /has to log in/.test(fault),
  );
  const added = seen.live !== null && seen.state !== 'ready' ? await administration.approve(tenant, 'conf', {}, signal) : seen;
  if (added.live === null) throw new Error(added.fault);
  for (const { name, tool, state } of added.tools) if (state === 'ready') await callTool(name, tool);
}

async function callTool(name: string, tool: string): Promise<void> {
  const listed = await service.list(tenant as TenantId);
  for (const input of inputsFor(tool, listed)) {
    const end = await patiently(
      () => answered(name, input),
      (call) => call.type === 'failed' && call.error.code === 'login_required',
    );
    if (end.type === 'failed') process.stderr.write(`${name}: ${said(end)}\n`);
  }
}

/** The person who is asked in the midst of it leaves all fields as they are. */
async function answered(toolName: string, input: Record<string, unknown>): Promise<ToolCallEnd> {
  const call = { toolName, input, calling: { offered: ['ask_human'], waitMs: 60_000 } };
  const results: { readonly id: number; readonly isError: boolean; readonly output: string }[] = [];
  for (let attempt = 1, resume: ResumedCall | undefined; ; attempt++) {
    const end = await readCall(service, makeToolCall({ ...call, attempt, ...(resume === undefined ? {} : { resume }) }));
    if (end.type !== 'suspended') return end;
    for (const wanted of end.calls) {
      const form = JSON.parse(wanted.input) as AskedForm;
      const filled = readFormAnswer(form, {});
      if (filled.type === 'unfit') throw new Error(filled.faults.join('; '));
      results.push({ id: wanted.id, isError: false, output: JSON.stringify(filled.content) });
    }
    resume = { state: end.state, results };
  }
}

type Listed = Awaited<ReturnType<typeof service.list>>;

/** What the suite wants the tool to be called with, or else something for each argument. */
function inputsFor(tool: string, listed: Listed): Record<string, unknown>[] {
  const schemaOf = (name: string) => listed.find((each) => each.name === `conf_${name}`)?.inputSchema;
  if (tool === 'json_schema_echo') return [{ schema: schemaOf('json_schema_2020_12_tool') }];
  const { toolCalls } = about as { readonly toolCalls?: readonly { readonly name: string; readonly arguments: Record<string, unknown> }[] };
  if (toolCalls !== undefined) return toolCalls.filter(({ name }) => name === tool).map((call) => withoutNulls(call.arguments));
  const { properties = {} } = (schemaOf(tool) ?? {}) as { properties?: Record<string, { type?: string; default?: unknown }> };
  const some: Record<string, unknown> = { number: 5, integer: 5, boolean: true, string: 'text' };
  return [Object.fromEntries(Object.entries(properties).map(([name, { type = '', default: given }]) => [name, given ?? some[type] ?? {}]))];
}

/** What no schema permits is refused before anything is sent. */
function withoutNulls(input: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null));
}

try {
  await run();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await servers.close();
}
