import type { Clock, Timers } from '#core';
import type { Tool } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import type { Workspaces } from '#tools/workspace';
import { createAskHumanTool } from './ask-human.ts';
import { createCodeJsTool } from './code-js.ts';
import { createFileTextTool } from './files/file-text.ts';
import { createFsTools } from './fs.ts';
import { createHttpTools, type HttpFetchOptions } from './http-fetch.ts';
import { createProgramStates, type ProgramStates } from './program-states.ts';

export { createProgramStates };

export interface BuiltinToolsOptions {
  /** Owned by the caller, who closes it. */
  readonly sandbox: Sandbox;
  readonly workspaces: Workspaces;
  readonly states: ProgramStates;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly http: Omit<HttpFetchOptions, 'timers' | 'clock'>;
}

/** The tools `fs_*`, `file_text`, `code_js`, `http_fetch`, `http_request` and `ask_human`. */
export function createBuiltinTools({ sandbox, workspaces, states, clock, timers, http }: BuiltinToolsOptions): readonly Tool[] {
  return [
    ...createFsTools({ workspaces, sandbox, clock, timers }),
    createFileTextTool({ workspaces, sandbox }),
    createCodeJsTool({ sandbox, workspaces, states }),
    ...createHttpTools({ ...http, clock, timers }),
    createAskHumanTool(),
  ];
}
