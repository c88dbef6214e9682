/** What is used of Node, where there is one: a page and other runtimes have none of it, and no bundle holds it. */
interface NodeProcess {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly getuid?: () => number;
  readonly getBuiltinModule?: (name: string) => unknown;
}

interface FileSystem {
  openSync(path: string, flags: number): number;
  fstatSync(file: number): { readonly uid: number; readonly mode: number; readonly size: number; isFile(): boolean };
  readFileSync(file: number, encoding: 'utf8'): string;
  closeSync(file: number): void;
  readonly constants: { readonly O_RDONLY: number; readonly O_NOFOLLOW?: number; readonly O_NONBLOCK?: number };
}

const loopback = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/;
const fileShape = /^Authorization: Bearer (nxl_[\w-]{43})\nX-Nexus-Hosts: ([\w.:[\] -]+)\n$/;
const largest = 1_000;

/**
 * Finds the token by which a server on this machine knows its own user: what the server wrote where only that user can read it. Asked for
 * each request, since a server that was started again has another one. Undefined for any other address, outside Node, and where the file
 * is not of this user, can be read by others, or does not name the host: then another program may have it.
 */
export function localTokenOf(baseUrl: string, folders?: readonly string[]): () => string | undefined {
  const { process: node } = globalThis as { process?: NodeProcess };
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : null;
  if (url === null || url.protocol !== 'http:' || url.username !== '' || !loopback.test(url.hostname)) return () => undefined;
  const files = node?.getBuiltinModule?.('node:fs') as FileSystem | undefined;
  if (node === undefined || files === undefined) return () => undefined;
  const name = `${url.port === '' ? 80 : url.port}.token`;
  const paths = (folders ?? stateFolders(node)).map((folder) => `${folder}/${name}`);
  return () => {
    for (const path of paths) {
      const [, token, hosts = ''] = fileShape.exec(ownText(files, path, node.getuid?.()) ?? '') ?? [];
      if (token !== undefined && hosts.split(' ').includes(url.hostname)) return token;
    }
    return undefined;
  };
}

function stateFolders(node: NodeProcess): string[] {
  const { XDG_STATE_HOME } = node.env;
  const home = homeFolder(node);
  return [...(XDG_STATE_HOME ? [XDG_STATE_HOME] : []), ...(home === '' ? [] : [`${home}/.local/state`])].map(
    (folder) => `${folder}/nexus-agent`,
  );
}

/** Empty for a user who has none: neither HOME nor an entry among the users of the machine, as in some containers. */
function homeFolder(node: NodeProcess): string {
  const system = node.getBuiltinModule?.('node:os') as { homedir(): string } | undefined;
  try {
    return system?.homedir() ?? '';
  } catch {
    return '';
  }
}

/** The text of a file that belongs to this user and that nobody else can read; a link is not followed. */
function ownText(files: FileSystem, path: string, user: number | undefined): string | undefined {
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = files.constants;
  let file: number | undefined;
  try {
    file = files.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const about = files.fstatSync(file);
    const isOurs = user === undefined || (about.uid === user && (about.mode & 0o077) === 0);
    return isOurs && about.isFile() && about.size <= largest ? files.readFileSync(file, 'utf8') : undefined;
  } catch {
    return undefined; // no such file, or none for us: then nothing shows who we are
  } finally {
    if (file !== undefined) files.closeSync(file);
  }
}
