import { dictionary, ToolInfo } from '@nexus-agent/protocol';
import { z } from 'zod';
import { explainIssues, NexusError, parseConfigFile } from '#core';

/** The file of a plugin that says what it is. */
export const manifestName = 'plugin.yaml';
export const signatureName = 'plugin.sig';

const fileName = z.string().regex(/^(?!\.)[A-Za-z0-9._-]{1,100}(\/(?!\.)[A-Za-z0-9._-]{1,100}){0,4}$/, {
  error: 'expected a plain relative path such as build/tool.wasm',
});
const hash = z.string().regex(/^[0-9a-f]{64}$/, { error: 'expected a SHA-256 in hex; nexus plugin build writes it' });
const anySchema = z.record(z.string(), z.unknown());

/** What a plugin may ask for. The first three are what policies know; the others are the time of day and chance. */
const pluginPermissions = ['fs.read', 'fs.write', 'net.egress', 'clock', 'random'] as const;
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
  module: fileName,
});

const PluginManifest = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, { error: 'expected 1 to 64 small letters, digits and -, such as text-stats' }),
  version: z.string().regex(/^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$/, { error: 'expected a version such as 1.0.0' }),
  description: z.string().max(1_000).default(''),
  tier: z.literal('T1', { error: 'expected T1: plugins are WebAssembly modules' }),
  /** For authors: the command that builds it. Nothing else ever runs it. */
  build: z.array(z.string().min(1).max(1_000)).min(1).max(100).optional(),
  tools: z.array(PluginTool).min(1).max(50),
  /** The SHA-256 of every file. */
  files: z.record(fileName, hash).default({}),
});
export type PluginManifest = z.infer<typeof PluginManifest>;
export type PluginToolManifest = PluginManifest['tools'][number];

const maxShown = 10;

/** Reads a manifest. Throws `config_invalid` that says all that is wrong with it. */
export async function parseManifest(text: string): Promise<PluginManifest> {
  const { tree } = await parseConfigFile(manifestName, text);
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
