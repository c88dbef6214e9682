import type { Tool } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import type { Workspaces } from '#tools/workspace';
import { createAskHumanTool } from './ask-human.ts';
import { createCodeJsTool } from './code-js.ts';
import { createCodePythonTool } from './code-python.ts';
import { createFsTools } from './fs.ts';
import { createHttpFetchTool, type HttpFetchOptions } from './http-fetch.ts';
import { createJailedCalls, type JailedToolsOptions } from './jailed-call.ts';
import { createShellTool } from './shell.ts';

export interface BuiltinToolsOptions {
  /** Owned by the caller, who closes it. */
  readonly sandbox: Sandbox;
  readonly workspaces: Workspaces;
  readonly http: HttpFetchOptions;
  readonly jailed: JailedToolsOptions;
}

/** `fs_list`, `fs_read`, `fs_write`, `fs_search`, `code_js`, `code_python`, `shell`, `http_fetch` and `ask_human`. */
export function createBuiltinTools({ sandbox, workspaces, http, jailed }: BuiltinToolsOptions): readonly Tool[] {
  const calls = createJailedCalls(jailed);
  return [
    ...createFsTools({ workspaces }),
    createCodeJsTool({ sandbox, workspaces }),
    createCodePythonTool(calls),
    createShellTool(calls),
    createHttpFetchTool(http),
    createAskHumanTool(),
  ];
}
