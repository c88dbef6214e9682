/** The door of the session's files: folders that nothing leaves. */
export { removeWorkspace } from './prepare.ts';
export { createSessionFolders } from './session-folders.ts';
export type { OpenFile } from './walk.ts';
export { createWorkspaces, type Workspaces } from './workspace.ts';
