import { dictionary, ToolInfo } from '@nexus-agent/protocol';
import { z } from 'zod';
import { explainIssues, isTooDeep, NexusError, parseConfigFile } from '#core';

/** The file of a plugin that says what it is. */
export const manifestName = 'plugin.yaml';
export const signatureName = 'plugin.sig';

const fileName = z.string().regex(/^(?!\.)[A-Za-z0-9._-]{1,100}(\/(?!\.)[A-Za-z0-9._-]{1,100}){0,4}$/, {
  error: 'expected a plain relative path such as build/tool.wasm',
});
const hash = z.string().regex(/^[0-9a-f]{64}$/, { error: 'expected a SHA-256 in hex; nexus plugin build writes it' });
const anySchema = z.record(z.string(), z.unknown());

/** What a plugin may ask for. The first four are what policies know; the others are the time of day and chance. */
const pluginPermissions = ['fs.read', 'fs.write', 'net.egress', 'process.run', 'clock', 'random'] as const;
const permission = z.enum(pluginPermissions, { error: `expected one of ${pluginPermissions.join(', ')}` });

const PluginLimits = z.strictObject({
  fuel: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  wallMs: z.int().min(1).max(3_600_000).optional(),
  memoryBytes: z.int().min(65_536).max(4_294_967_296).optional(),
  maxOutputBytes: z.int().min(1).max(1_073_741_824).optional(),
  maxFileBytes: z.int().min(0).max(1_073_741_824).optional(),
  maxHostCalls: z.int().min(0).max(1_000_000).optional(),
});

const PluginTool = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'expected 1 to 64 of the characters A-Z a-z 0-9 _ . -' }),
  description: z.string().max(4_000),
  inputSchema: anySchema,
  outputSchema: anySchema.optional(),
  effects: ToolInfo.shape.effects,
  permissions: z.array(permission).max(10).default([]),
  limits: PluginLimits.default({}),
  /** The exported function; the program itself when left out. */
  entry: z.string().min(1).max(200).optional(),
  /** Of tier T1. */
  module: fileName.optional(),
});

/** The kernel ends it at a 0. */
const wholeText = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => !text.includes('\0'), { error: 'expected text without the character 0' });

/** The program of a plugin of tier T2, an MCP server over its standard input and output. */
const PluginServer = z.strictObject({
  command: z.string().regex(/^(\.\/)?(?![.-])[A-Za-z0-9._-]{1,100}(\/(?!\.)[A-Za-z0-9._-]{1,100}){0,4}$/, {
    error: 'expected node, a name that lies in /usr/bin such as python3, or a file of the plugin such as ./server',
  }),
  args: z.array(wholeText(1_000)).max(50).default([]),
  env: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,99}$/, { error: 'expected the name of a variable' }), wholeText(1_000))
    .default({}),
  /** Of all of its processes together; no more than the server gives. */
  limits: z
    .strictObject({
      memoryBytes: z.int().min(16_777_216).max(1_099_511_627_776).optional(),
      cpuMs: z.int().min(1_000).max(86_400_000).optional(),
      processes: z.int().min(1).max(100_000).optional(),
    })
    .default({}),
  /** Longest time of one call. */
  timeoutMs: z.int().min(100).max(3_600_000).default(60_000),
});
export type PluginServer = z.infer<typeof PluginServer>;

const ManifestShape = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, { error: 'expected 1 to 64 small letters, digits and -, such as text-stats' }),
  version: z.string().regex(/^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$/, { error: 'expected a version such as 1.0.0' }),
  description: z.string().max(1_000).default(''),
  tier: z.enum(['T1', 'T2'], { error: 'expected T1 for WebAssembly modules, or T2 for a program that is an MCP server' }),
  /** For authors: the command that builds it. Nothing else ever runs it. */
  build: z.array(z.string().min(1).max(1_000)).min(1).max(100).optional(),
  server: PluginServer.optional(),
  /** For authors too: further files that belong to it. */
  include: z.array(fileName).max(100).optional(),
  tools: z.array(PluginTool).min(1).max(50),
  /** The SHA-256 of every file. */
  files: z.record(fileName, hash).default({}),
});

/** What of a manifest does not fit its tier: where, and what would be right. */
function* misfits({
  tier,
  server,
  tools,
}: z.infer<typeof ManifestShape>): Generator<readonly [path: (string | number)[], message: string]> {
  if (tier === 'T1' && server !== undefined) yield [['server'], 'belongs to tier T2; modules of tier T1 need none'];
  if (tier === 'T2' && server === undefined) yield [['server'], 'expected the program, such as { command: node, args: [server.js] }'];
  for (const [index, { module, entry, limits, permissions }] of tools.entries()) {
    const at = (field: string) => ['tools', index, field];
    if (tier === 'T1') {
      if (module === undefined) yield [at('module'), 'expected the WebAssembly module of the tool'];
      if (permissions.includes('process.run')) yield [at('permissions'), 'process.run is for programs, of tier T2'];
      continue;
    }
    if (module !== undefined) yield [at('module'), 'belongs to tier T1; the program is under server'];
    if (entry !== undefined) yield [at('entry'), 'belongs to tier T1; the program is under server'];
    if (Object.keys(limits).length > 0) yield [at('limits'), 'belong to tier T1; those of the program are under server.limits'];
    if (permissions.join() !== 'process.run') yield [at('permissions'), 'expected [process.run]: a program has that and nothing else'];
  }
}

const PluginManifest = ManifestShape.superRefine((manifest, context) => {
  for (const [path, message] of misfits(manifest)) context.addIssue({ code: 'custom', path: [...path], message });
});
export type PluginManifest = z.infer<typeof PluginManifest>;
export type PluginToolManifest = PluginManifest['tools'][number];

const maxShown = 10;
const maxManifestChars = 512 * 1024;
/** Each of them may become a thing in memory some hundred times its size. */
const maxManifestTokens = 40_000;

/** Throws `config_invalid` for a text that would hold everybody up while it is read. */
async function requireReadable(text: string): Promise<void> {
  const tooLong = (what: string) => new NexusError('config_invalid', `${manifestName} has more than ${what}; make it smaller`);
  if (text.length > maxManifestChars) throw tooLong(`${maxManifestChars} characters`);
  const { Lexer } = await import('yaml');
  let tokens = 0;
  for (const _token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > maxManifestTokens) throw tooLong(`${maxManifestTokens} words and signs`);
  }
}

/** Reads a manifest. Throws `config_invalid` that says all that is wrong with it. */
export async function parseManifest(text: string): Promise<PluginManifest> {
  await requireReadable(text);
  const { tree } = await parseConfigFile(manifestName, text);
  if (isTooDeep(JSON.stringify(tree))) throw new NexusError('config_invalid', `${manifestName} is nested too deeply; make it flatter`);
  const parsed = PluginManifest.safeParse(tree);
  if (!parsed.success) {
    const issues = explainIssues(parsed.error, PluginManifest, tree).slice(0, maxShown);
    throw new NexusError('config_invalid', `${manifestName}: ${issues.map(({ path, message }) => `${path}: ${message}`).join('; ')}`);
  }
  return { ...parsed.data, files: dictionary(parsed.data.files) };
}

/** A manifest that was parsed before and kept; null for what is none. */
export function readManifest(value: unknown): PluginManifest | null {
  const parsed = PluginManifest.safeParse(value);
  return parsed.success ? parsed.data : null;
}
