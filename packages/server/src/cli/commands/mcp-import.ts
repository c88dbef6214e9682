import { McpServerName } from '@nexus-agent/protocol';
import { z } from 'zod';
import { isObject, NexusError } from '#core';

const texts = z.record(z.string(), z.string());
/** As other clients write them. */
const OtherServer = z.object({
  type: z.enum(['stdio', 'http', 'streamable-http', 'streamableHttp', 'sse']).optional(),
  command: z.string().min(1).optional(),
  args: z.array(z.string()).default([]),
  env: texts.default({}),
  cwd: z.string().optional(),
  url: z.string().min(1).optional(),
  headers: texts.default({}),
});

export interface ImportedMcpServer {
  readonly name: string;
  readonly transport:
    | { readonly type: 'http'; readonly url: string; readonly headers: Readonly<Record<string, string>> }
    | {
        readonly type: 'stdio';
        readonly command: string;
        readonly args: string[];
        readonly env: Readonly<Record<string, string>>;
        readonly cwd?: string;
      };
}

/** The servers of a file of the form `{ "mcpServers": { … } }`. Throws `invalid_request` that says which of them cannot be taken. */
export function importMcpServers(text: string): ImportedMcpServer[] {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw invalid('the file is no JSON', error);
  }
  const servers = isObject(file) ? file.mcpServers : undefined;
  if (!isObject(servers)) throw invalid('the file has no "mcpServers": expected { "mcpServers": { "name": { "command": … } } }');
  return Object.entries(servers).map(([given, value]) => {
    const name = McpServerName.safeParse(given.toLowerCase().replaceAll(/[_ .]/g, '-'));
    if (!name.success) throw invalid(`mcpServers.${given}: expected a name of at most 31 letters, digits or -, which begins with a letter`);
    const read = OtherServer.safeParse(value);
    if (!read.success) throw invalid(`mcpServers.${given}: ${read.error.issues[0]?.path.join('.')}: ${read.error.issues[0]?.message}`);
    const { type, command, url, args, env, cwd, headers } = read.data;
    if ((command === undefined) === (url === undefined)) throw invalid(`mcpServers.${given}: give either command or url`);
    if (type === 'sse')
      throw invalid(`mcpServers.${given}: servers of type sse are not spoken to; most have streamable HTTP at another url`);
    if (url !== undefined) return { name: name.data, transport: { type: 'http', url, headers } };
    return {
      name: name.data,
      transport: { type: 'stdio', command: command ?? '', args, env, ...(cwd === undefined ? {} : { cwd }) },
    };
  });
}

function invalid(message: string, cause?: unknown): NexusError {
  return new NexusError('invalid_request', message, { cause });
}
