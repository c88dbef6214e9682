import { z } from 'zod';
import { effectsClass } from '../events.ts';

const PluginToolInfo = z.object({
  name: z.string(),
  description: z.string(),
  effects: effectsClass,
  permissions: z.array(z.string()).describe('What it may touch besides its arguments'),
});

export const Plugin = z
  .object({
    name: z.string(),
    version: z.string(),
    description: z.string(),
    digest: z.string().describe('SHA-256 of its manifest, which names the hash of each of its files'),
    signedBy: z.string().nullable().describe('The public key whose signature it has'),
    trusted: z.boolean().describe('Whether that key was trusted when it was installed, or is now when it is not'),
    installed: z.boolean(),
    installedAt: z.string().nullable(),
    tools: z.array(PluginToolInfo),
  })
  .meta({ id: 'Plugin' });
export type Plugin = z.infer<typeof Plugin>;

export const PluginInstallRequest = z
  .strictObject({
    package: z.base64().max(24_000_000).describe('A `.tgz` as `npm pack` makes it, in base64'),
    accept: z
      .string()
      .max(100)
      .optional()
      .describe('The digest that was shown: installs what it asks for. Without it the plugin is only shown'),
    allowUnsigned: z.boolean().default(false).describe('Also one that is signed by nobody who is trusted'),
  })
  .meta({ id: 'PluginInstallRequest' });
export type PluginInstallRequest = z.infer<typeof PluginInstallRequest>;
