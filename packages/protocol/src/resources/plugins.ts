import { z } from 'zod';
import { effectsClass } from '../events.ts';

const PluginToolInfo = z.object({
  name: z.string(),
  description: z.string(),
  effects: effectsClass,
  permissions: z.array(z.string()).describe('What it may touch besides its arguments'),
});

const PluginTrust = z
  .enum(['trusted', 'untrusted', 'unsigned', 'revoked'])
  .describe('Whether its signature is of a key that is trusted now; `revoked` keys are refused whatever else is said');

const PluginChange = z.object({
  tool: z.string().nullable().describe('The tool that it is about; null for the whole plugin'),
  what: z.enum([
    'added',
    'removed',
    'permissions',
    'effects',
    'arguments',
    'result',
    'description',
    'limits',
    'server',
    'tier',
    'signature',
  ]),
  before: z.string().nullable(),
  after: z.string().nullable(),
  asksMore: z.boolean().describe('It may do something that it could not do before'),
});

export const Plugin = z
  .object({
    name: z.string(),
    version: z.string(),
    description: z.string(),
    tier: z.enum(['T1', 'T2']).describe('`T1`: WebAssembly modules; `T2`: a program in a jail that is an MCP server'),
    digest: z.string().describe('SHA-256 of its manifest, which names the hash of each of its files'),
    sizeBytes: z.int().describe('Of its files, unpacked'),
    signedBy: z.string().nullable().describe('The public key whose signature it has'),
    signer: z.string().nullable().describe('The name under which that key is trusted, or was revoked'),
    trust: PluginTrust,
    trusted: z.boolean().describe('Whether that key was trusted when it was installed, or is now when it is not'),
    refused: z.string().nullable().describe('Why calls of it are refused now, where they are'),
    installed: z.boolean(),
    installedAt: z.string().nullable(),
    program: z
      .object({ command: z.string(), args: z.array(z.string()) })
      .nullable()
      .describe('What a plugin of tier T2 starts'),
    tools: z.array(PluginToolInfo),
    replaces: z
      .object({
        version: z.string(),
        digest: z.string(),
        isNewer: z.boolean().describe('The installed version is newer than this one'),
        changes: z.array(PluginChange),
      })
      .optional()
      .describe('What is installed under its name, and how this one differs, where it is shown or was just installed'),
  })
  .meta({ id: 'Plugin' });
export type Plugin = z.infer<typeof Plugin>;
export type PluginChange = z.infer<typeof PluginChange>;

export const PluginInstallRequest = z
  .strictObject({
    package: z.base64().max(24_000_000).describe('A `.tgz` as `npm pack` makes it, in base64'),
    accept: z
      .string()
      .max(100)
      .optional()
      .describe('The digest that was shown: installs what it asks for. Without it the plugin is only shown'),
    replaces: z
      .string()
      .max(100)
      .optional()
      .describe('The digest of what was shown as installed under its name: refused where that is another one by now'),
    allowUnsigned: z.boolean().default(false).describe('Also one that is signed by nobody who is trusted'),
    allowDowngrade: z.boolean().default(false).describe('Also in the place of a newer version'),
  })
  .meta({ id: 'PluginInstallRequest' });
export type PluginInstallRequest = z.infer<typeof PluginInstallRequest>;

const publicKey = z
  .string()
  .regex(/^[A-Za-z0-9+/]{43}=$/, { error: 'expected a public key as nexus plugin keygen prints it' })
  .describe('A raw Ed25519 key in base64');

const keyState = z
  .enum(['trusted', 'revoked'])
  .describe('`revoked`: what it signed is refused, also where it was installed without a signature');

export const PluginKey = z
  .object({
    fingerprint: z.string().describe('The first 32 digits of the SHA-256 of the key, by which it is addressed'),
    publicKey,
    name: z.string().describe('Whose it is; several keys may have one name'),
    state: keyState,
    origin: z.enum(['operator', 'tenant']).describe("The operator's, in `plugins.trustedKeys`, hold for all tenants"),
    addedBy: z.string().nullable(),
    addedAt: z.string().nullable(),
  })
  .meta({ id: 'PluginKey' });
export type PluginKey = z.infer<typeof PluginKey>;

export const PluginKeyRequest = z
  .strictObject({
    publicKey,
    name: z
      .string()
      .min(1)
      .max(100)
      .regex(/^[^\p{C}]*$/u, { error: 'expected a name without control characters' }),
    state: keyState.default('trusted'),
  })
  .meta({ id: 'PluginKeyRequest' });
export type PluginKeyRequest = z.infer<typeof PluginKeyRequest>;
