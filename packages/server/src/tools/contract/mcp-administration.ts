import type {
  AgentMcpServer,
  McpApproveRequest,
  McpLogin,
  McpLoginState,
  McpServer,
  McpServerDefinition,
  McpServerInspection,
  Page,
  TenantId,
} from '@nexus-agent/protocol';
import type { PageRequest } from '#storage';
import type { DeclaredServer } from './declared-servers.ts';

/** Who logs in. */
export interface WhoLogsIn {
  /** The principal. */
  readonly by: string;
  /** By which host and port they reach this server. */
  readonly host: string | undefined;
}

/** What a browser brings back from an authorization server: all of it may be made up. */
export interface LoginAnswer {
  readonly state: string;
  readonly code: string | undefined;
  readonly issuer: string | undefined;
  readonly error: string | undefined;
  /** What the browser holds, as its header says it. */
  readonly cookies: string | undefined;
}

/** What a browser comes with before it is sent to log in: all of it may be made up. */
export interface LoginStep {
  readonly login: string;
  /** Of the page that was shown. */
  readonly page: string | undefined;
  /** What the person typed. */
  readonly code: string | undefined;
  readonly cookies: string | undefined;
}

export type LoginOpened = { readonly headers: Readonly<Record<string, string>> } & (
  | { readonly type: 'page'; readonly html: string }
  | { readonly type: 'sent'; readonly location: string }
);

/** Logins of people to the MCP servers of a tenant. */
export interface McpLogins {
  /** Throws `not_found`, and `invalid_request` for a server that nobody logs in to. */
  state(tenantId: TenantId, name: string): Promise<McpLoginState>;
  /**
   * Gives the address that the person opens and the code that they type there, in the place of one that was given before. Throws `tool_failed` that
   * says what is wrong there, and `config_invalid` where no browser could come back.
   */
  begin(tenantId: TenantId, name: string, who: WhoLogsIn, signal: AbortSignal): Promise<McpLogin>;
  /**
   * Shows who wants the account of the person, and sends the browser to the authorization server once the code was typed into that page.
   * Throws `invalid_request` for what was not begun here.
   */
  open(step: LoginStep): Promise<LoginOpened>;
  /** What we say of ourselves to authorization servers that read it; null where only this machine could. */
  clientDocument(): Readonly<Record<string, unknown>> | null;
  /** Ends a login, once, in the browser that it was begun in. Throws `invalid_request` for what was not begun here, or there. */
  finish(answer: LoginAnswer): Promise<{ readonly server: string }>;
  /** Forgets what was granted, and tells the authorization server. */
  end(tenantId: TenantId, name: string): Promise<void>;
}

/** What people do with the MCP servers of a tenant. */
export interface McpAdministration {
  readonly logins: McpLogins;
  list(tenantId: TenantId, page: PageRequest): Promise<Page<McpServer>>;
  /**
   * Keeps a server, in the place of one of the same name. Its tools are approved as it lists them now, unless it is where it was. Throws
   * `invalid_request`, `address_not_allowed` and `quota_exceeded`; a server that cannot be asked is kept without tools.
   */
  put(tenantId: TenantId, name: string, definition: McpServerDefinition, signal: AbortSignal): Promise<McpServerInspection>;
  /**
   * Adds the servers that an agent declares, as {@link put} does, where there are none of their names; of one that is as declared and was
   * never seen, the tools are approved as it lists them now. Throws `conflict` where another has the name of one, before anything is added:
   * nothing takes the place of a server here.
   */
  ensure(
    tenantId: TenantId,
    servers: readonly DeclaredServer[],
    agent: string,
    signal: AbortSignal,
  ): Promise<readonly McpServerInspection[]>;
  /** What the tenant has of servers that an agent declares, as of a second ago. */
  standing(tenantId: TenantId, servers: readonly DeclaredServer[]): Promise<readonly AgentMcpServer[]>;
  /** Asks the server. What it lists otherwise than it was approved is left out from now on. Throws `not_found`. */
  inspect(tenantId: TenantId, name: string, signal: AbortSignal): Promise<McpServerInspection>;
  /** Takes the tools as the server lists them now. Throws `conflict` when that is another list than the one that is named. */
  approve(tenantId: TenantId, name: string, request: McpApproveRequest, signal: AbortSignal): Promise<McpServerInspection>;
  /** Throws `not_found`. */
  remove(tenantId: TenantId, name: string): Promise<void>;
}
