import { budgetMutants } from './budgets.ts';
import { clientToolMutants } from './client-tools.ts';
import { clockMutants } from './clocks.ts';
import { codeMutants } from './code.ts';
import { controlMutants } from './control.ts';
import { conversationMutants } from './conversations.ts';
import { coreMutants } from './core.ts';
import { dispatchMutants } from './dispatch.ts';
import { edgeMutants } from './edges.ts';
import { fileMutants } from './files.ts';
import { isolationMutants } from './isolation.ts';
import { killMutants } from './kill.ts';
import { leakMutants } from './leak.ts';
import { llmMutants } from './llm.ts';
import { mcpOAuthMutants } from './mcp-oauth.ts';
import { modelMutants } from './model.ts';
import { permitMutants } from './permits.ts';
import { providerMutants } from './provider.ts';
import { queueMutants } from './queue.ts';
import { requestMutants } from './requests.ts';
import { runMutants } from './runs.ts';
import { serviceMutants } from './services.ts';
import { sharesMutants } from './shares.ts';
import { simulationMutants } from './simulation.ts';
import { stallMutants } from './stall.ts';
import { steerMutants } from './steer.ts';
import { storageMutants } from './storage.ts';
import { wireMutants } from './wire.ts';

/** Every bug that `npm run verify:mutants` plants. Add to the file of its area. */
export const mutants = [
  ...coreMutants,
  ...clientToolMutants,
  ...mcpOAuthMutants,
  ...storageMutants,
  ...serviceMutants,
  ...wireMutants,
  ...llmMutants,
  ...runMutants,
  ...dispatchMutants,
  ...edgeMutants,
  ...controlMutants,
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
