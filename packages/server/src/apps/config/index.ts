/** The whole configuration, joined from the slices of the modules. A door of its own: the command line wants it without the server. */
export {
  type ConfigInput,
  clientUrl,
  configSettings,
  environmentNotes,
  NexusConfig,
  redactConfig,
  resolveConfig,
  secretsOfConfig,
  tokenFolders,
} from './config.ts';
