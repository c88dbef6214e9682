import { agentServerMutants } from './agent-servers.ts';
import { budgetMutants } from './budgets.ts';
import { clientToolMutants } from './client-tools.ts';
import { clockMutants } from './clocks.ts';
import { codeMutants } from './code.ts';
import { controlMutants } from './control.ts';
import { conversationMutants } from './conversations.ts';
import { coreMutants } from './core.ts';
import { dispatchMutants } from './dispatch.ts';
import { documentMutants } from './documents.ts';
import { edgeSecretMutants } from './edge-secrets.ts';
import { edgeMutants } from './edges.ts';
import { fileMutants } from './files.ts';
import { httpToolMutants } from './http-tools.ts';
import { isolationMutants } from './isolation.ts';
import { jailMutants } from './jails.ts';
import { killMutants } from './kill.ts';
import { leakMutants } from './leak.ts';
import { llmMutants } from './llm.ts';
import { mcpAskingMutants } from './mcp-asking.ts';
import { mcpOAuthMutants } from './mcp-oauth.ts';
import { modelMutants } from './model.ts';
import { moduleMutants } from './modules.ts';
import { permitMutants } from './permits.ts';
import { pluginMutants } from './plugins.ts';
import { providerMutants } from './provider.ts';
import { queueMutants } from './queue.ts';
import { rejoiningMutants } from './rejoining.ts';
import { requestMutants } from './requests.ts';
import { runMutants } from './runs.ts';
import { serviceMutants } from './services.ts';
import { sharesMutants } from './shares.ts';
import { simulationMutants } from './simulation.ts';
import { stallMutants } from './stall.ts';
import { steerMutants } from './steer.ts';
import { storageMutants } from './storage.ts';
import { wireMutants } from './wire.ts';
import { workerMutants } from './workers.ts';

/** Every bug that `npm run verify:mutants` plants. Add to the file of its area. */
export const mutants = [
  ...coreMutants,
  ...agentServerMutants,
  ...clientToolMutants,
  ...rejoiningMutants,
  ...pluginMutants,
  ...moduleMutants,
  ...jailMutants,
  ...mcpAskingMutants,
  ...mcpOAuthMutants,
  ...storageMutants,
  ...serviceMutants,
  ...wireMutants,
  ...workerMutants,
  ...httpToolMutants,
  ...llmMutants,
  ...runMutants,
  ...dispatchMutants,
  ...documentMutants,
  ...edgeMutants,
  ...controlMutants,
  ...edgeSecretMutants,
  ...fileMutants,
  ...budgetMutants,
  ...permitMutants,
  ...conversationMutants,
  ...providerMutants,
  ...leakMutants,
  ...requestMutants,
  ...steerMutants,
  ...sharesMutants,
  ...killMutants,
  ...stallMutants,
  ...queueMutants,
  ...simulationMutants,
  ...modelMutants,
  ...isolationMutants,
  ...clockMutants,
  ...codeMutants,
];
