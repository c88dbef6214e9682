import type { McpLoginState, McpServerDefinition } from '@nexus-agent/protocol';
import type { Command } from 'commander';
import { type CliContext, withClient } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { type Registrar, wholeNumber } from './command.ts';

/** How often it is looked whether the person has logged in. */
const lookMs = 1_000;

/** `nexus mcp login` and `logout`: a person's login to an MCP server. */
export function mcpLoginCommands(mcp: Command, { action }: Pick<Registrar, 'action'>): void {
  mcp
    .command('login')
    .description('log in to an MCP server: open the address that is printed in a browser, and type the code there')
    .argument('<name>')
    .option('--no-wait', 'print the address and the code, and do not wait until it is done')
    .option('--timeout <ms>', 'how long to wait', wholeNumber, 600_000)
    .action(action(login));
  mcp.command('logout').description('forget the login to an MCP server').argument('<name>').action(action(logout));
}

interface LoginFlags {
  readonly wait: boolean;
  readonly timeout: number;
}

async function login(context: CliContext, { wait, timeout }: LoginFlags, name = ''): Promise<undefined> {
  await withClient(context, async (client) => {
    const before = await client.mcpServers.loginState(name);
    const { address, code, expiresAt } = await client.mcpServers.login(name);
    if (!wait) return context.print({ address, code, expiresAt }, () => `${address}\ncode: ${code}`);
    context.note(
      `Open this address in a browser, before ${expiresAt}, and type the code ${code} there. Both are for you alone:\n\n${address}\n`,
    );
    const until = performance.now() + timeout;
    for (let now = before; ; now = await client.mcpServers.loginState(name)) {
      if (now.state === 'active' && now.since !== before.since)
        return context.print(
          now,
          () => `${loginLine(name, now)}\nlook at its tools and approve them: nexus mcp inspect ${name}, nexus mcp approve ${name}`,
        );
      if (performance.now() >= until)
        throw new UsageError(`nobody has logged in to ${name} within ${timeout} ms; begin again with nexus mcp login ${name}`);
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  });
}

async function logout(context: CliContext, _options: object, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.mcpServers.logout(name));
  context.print({ name }, () => `${name} is logged out`);
}

/** What of a login a person sees. */
export function loginLine(name: string, { state, until, scopes }: McpLoginState): string {
  if (state === 'needed') return `needs login: nexus mcp login ${name}`;
  return `${until === null ? 'logged in' : `logged in until ${until}`}${scopes === null ? '' : `, for ${scopes}`}`;
}

export interface AuthFlags {
  readonly oauth?: boolean;
  readonly clientId?: string;
  readonly clientSecret?: string;
  readonly privateKey?: string;
  readonly issuer?: string;
  readonly scope?: string[];
}

/** Options of `nexus mcp add`. */
export function withAuthFlags(command: Command): Command {
  return command
    .option('--oauth', 'the server wants OAuth; a person logs in with nexus mcp login')
    .option('--client-id <id>', 'as the authorization server knows this client; without it, it registers')
    .option('--client-secret <name>', 'a secret of mcpClient.secrets: this server asks for tokens by itself')
    .option('--private-key <name>', 'the same with a key in PEM')
    .option('--issuer <url>', 'the authorization server that the client id belongs to')
    .option('--scope <scope...>', 'what is asked for');
}

export function authOf({ oauth, clientId, clientSecret, privateKey, issuer, scope }: AuthFlags): { auth?: McpServerDefinition['auth'] } {
  const given = {
    ...(clientId === undefined ? {} : { clientId }),
    ...(clientSecret === undefined ? {} : { clientSecret: { secret: clientSecret } }),
    ...(privateKey === undefined ? {} : { privateKey: { secret: privateKey } }),
    ...(issuer === undefined ? {} : { issuer }),
    ...(scope === undefined ? {} : { scopes: scope }),
  };
  return oauth === true || Object.keys(given).length > 0 ? { auth: { type: 'oauth', ...given } } : {};
}
