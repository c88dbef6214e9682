import type { Clock, Timers } from '#core';
import type { Tool } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import type { Workspaces } from '#tools/workspace';
import type { ProgramStates } from '../program-states.ts';
import { type ArtifactsOfSessions, createArtifactTools } from './artifacts/index.ts';
import { createAskHumanTool } from './ask-human.ts';
import { createCodeJsTool } from './code-js.ts';
import { createCodePythonTool } from './code-python.ts';
import { createFileTextTool } from './files/file-text.ts';
import { createFsTools } from './fs.ts';
import { createHttpTools, type HttpFetchOptions } from './http-fetch.ts';
import { createJailedCalls, type JailedToolsOptions } from './jailed-call.ts';
import { createShellTool } from './shell.ts';
import { createWaitTool } from './wait.ts';

export interface BuiltinToolsOptions {
  /** Owned by the caller, who closes it. */
  readonly sandbox: Sandbox;
  readonly workspaces: Workspaces;
  readonly states: ProgramStates;
  readonly artifacts: ArtifactsOfSessions;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly http: Omit<HttpFetchOptions, 'timers' | 'clock'>;
  readonly jailed: JailedToolsOptions;
}

/** The tools `fs_*`, `file_text`, `code_js`, `code_python`, `shell`, `http_fetch`, `http_request`, `ask_human`, `wait`, `artifact_list` and `artifact_read`. */
export function createBuiltinTools(options: BuiltinToolsOptions): readonly Tool[] {
  const { sandbox, workspaces, states, clock, timers, http, jailed, artifacts } = options;
  const calls = createJailedCalls(jailed);
  return [
    ...createFsTools({ workspaces, sandbox, clock, timers }),
    createFileTextTool({ workspaces, sandbox }),
    createCodeJsTool({ sandbox, workspaces, states }),
    createCodePythonTool(calls),
    createShellTool(calls),
    ...createHttpTools({ ...http, clock, timers }),
    createAskHumanTool(),
    createWaitTool(),
    ...createArtifactTools({ ...artifacts, clock, timers }),
  ];
}
