/** The door of the session's files: folders that nothing leaves. */
export { openRoot } from './folder.ts';
export { parseWorkspacePath } from './path.ts';
export { type OpenFile, walkFolder } from './walk.ts';
export { createWorkspaces, type Workspaces } from './workspace.ts';
