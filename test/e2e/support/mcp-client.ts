import { Client, type ElicitResult, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

/** The revisions of the protocol that are spoken: of the older one, with sessions, and of the newer one, without. */
export const revisions = ['2025-11-25', '2026-07-28'] as const;
export type Revision = (typeof revisions)[number];

/** What a person says of a form that their client shows. */
export type Person = (message: string) => ElicitResult | Promise<ElicitResult>;

export interface McpClientOptions {
  readonly revision: Revision;
  readonly key?: string;
  /** Without one the client takes no questions. */
  readonly person?: Person;
}

export interface McpClient {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  close(): Promise<void>;
}

/** The official client, connected over a socket. */
export async function connectMcp(url: string, { revision, key, person }: McpClientOptions): Promise<McpClient> {
  const client = new Client(
    { name: 'a-client', version: '1.0.0' },
    {
      capabilities: person === undefined ? {} : { elicitation: { form: {} } },
      versionNegotiation: { mode: revision === '2026-07-28' ? { pin: revision } : 'legacy' },
    },
  );
  if (person !== undefined) client.setRequestHandler('elicitation/create', ({ params }) => person(params.message));
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);
  return { client, transport, close: () => client.close() };
}

/** The text of a result. */
export function textOf(result: { readonly content?: readonly unknown[] }): string {
  return (result.content ?? [])
    .flatMap((part) => (typeof part === 'object' && part !== null && 'text' in part && typeof part.text === 'string' ? [part.text] : []))
    .join('\n');
}
