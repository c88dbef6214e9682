/** What the operating system said, as a sentence that says what to do; null for an error that is not of its kind. */
export function systemErrorText(error: unknown): string | null {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return null;
  const { code, path, address, port, hostname } = error as NodeJS.ErrnoException & { address?: string; port?: number; hostname?: string }; // as Node documents its system errors
  const file = path ?? 'a file';
  const place = port === undefined ? (hostname ?? address ?? 'the address') : `${hostname ?? address ?? 'the address'}:${port}`;
  switch (code) {
    case 'ENOENT':
      return `there is no ${file}; check the path`;
    case 'EEXIST':
      return `${file} is there already and is not what is needed; move it away or name another path`;
    case 'EISDIR':
      return `${file} is a folder, and a file is needed`;
    case 'ENOTDIR':
      return `${file} leads through a file as if that were a folder; check the path`;
    case 'EACCES':
    case 'EPERM':
      return port === undefined
        ? `this user may not use ${file}; change its owner or permissions, or name another path`
        : `this user may not listen on ${place}; choose a port from 1024 on`;
    case 'EROFS':
      return `${file} lies on a file system that cannot be written; name another path`;
    case 'ENOSPC':
    case 'EDQUOT':
      return `there is no space left for ${file}; make some, or name another path`;
    case 'EMFILE':
    case 'ENFILE':
      return 'too many files are open; raise the limit (ulimit -n)';
    case 'EADDRINUSE':
      return `${place} is in use; stop what uses it or choose another port`;
    case 'EADDRNOTAVAIL':
      return `${place} is no address of this machine; choose one that is, or 0.0.0.0 for all`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name ${hostname ?? 'of the host'} cannot be resolved; check it and the network`;
    case 'ECONNREFUSED':
      return `nothing listens at ${place}; start it or correct the address`;
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `${place} cannot be reached; check the address and the network`;
    default:
      return null;
  }
}
