import { NexusError } from '#core';
import { hasErrorCode } from './folder.ts';

/** A failure of the file system in words of the workspace: the path as the caller gave it, never the host's. */
export function toWorkspaceError(error: unknown, path: string): NexusError {
  if (error instanceof NexusError) return error;
  const shown = JSON.stringify(path);
  const make = (...[code, message]: ConstructorParameters<typeof NexusError>) => new NexusError(code, message, { cause: error });
  if (hasErrorCode(error, 'ENOENT')) return make('not_found', `there is no ${shown} in the workspace; fs_list shows what there is`);
  if (hasErrorCode(error, 'ENOTDIR')) return make('tool_input_invalid', `${shown} leads through something that is not a folder`);
  if (hasErrorCode(error, 'EISDIR')) return make('tool_input_invalid', `${shown} is a folder; name a file in it`);
  if (hasErrorCode(error, 'ELOOP', 'EMLINK'))
    return make('path_not_allowed', `${shown} is or leads through a link, which may leave the workspace`);
  if (hasErrorCode(error, 'ENXIO', 'ENODEV')) return make('path_not_allowed', `${shown} is not a regular file`);
  if (hasErrorCode(error, 'EACCES', 'EPERM', 'EROFS')) return make('path_not_allowed', `the system does not allow access to ${shown}`);
  if (hasErrorCode(error, 'ENAMETOOLONG')) return make('path_not_allowed', `${shown} is too long a path`);
  if (hasErrorCode(error, 'ENOSPC', 'EDQUOT')) return make('payload_too_large', 'the disk of the workspace is full');
  if (hasErrorCode(error, 'EMFILE', 'ENFILE')) return make('unavailable', 'too many files are open at the moment; try again');
  return make('tool_failed', `the file system failed at ${shown}`);
}
