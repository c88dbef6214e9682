import { agentCommands } from './agents.ts';
import { approvalCommands } from './approvals.ts';
import { artifactCommands } from './artifacts.ts';
import { budgetCommands } from './budgets.ts';
import { chatCommands } from './chat.ts';
import type { Registrar } from './command.ts';
import { configCommands } from './config.ts';
import { definitionCommands } from './definitions.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { fileCommands } from './files.ts';
import { keyCommands } from './keys.ts';
import { mcpCommands } from './mcp.ts';
import { mcpServerCommands } from './mcp-servers.ts';
import { migrateCommand } from './migrate.ts';
import { modelCommands } from './models.ts';
import { pluginCommands } from './plugins.ts';
import { pruneCommand } from './prune.ts';
import { runCommands } from './runs.ts';
import { serveCommand } from './serve.ts';
import { sessionCommands } from './sessions.ts';
import { simCommand } from './sim.ts';
import { toolCommands } from './tools.ts';
import { usageCommand } from './usage.ts';

/** All commands, in the order in which help shows them. */
export const commands: readonly ((registrar: Registrar) => void)[] = [
  serveCommand,
  chatCommands,
  sessionCommands,
  runCommands,
  fileCommands,
  artifactCommands,
  approvalCommands,
  agentCommands,
  toolCommands,
  mcpCommands,
  pluginCommands,
  mcpServerCommands,
  modelCommands,
  budgetCommands,
  usageCommand,
  definitionCommands,
  keyCommands,
  doctorCommand,
  migrateCommand,
  pruneCommand,
  configCommands,
  simCommand,
  demoCommand,
];
