import type { CliIo } from './io.ts';

/** How a command showed a server who it is. */
export interface Shown {
  readonly url: string;
  /** It sent a key of the configuration. */
  readonly hasKey: boolean;
  /** Where tokens of servers of this machine are looked for. */
  readonly folders: readonly string[];
}

const hints = new WeakMap<Error, string>();

/** What else is to be said of an error, by who knew more than whoever threw it. */
export function hintOf(error: unknown): string | undefined {
  return error instanceof Error ? hints.get(error) : undefined;
}

/**
 * Adds to the refusal of a server what it cannot know: what was sent, where that came from, and what would be right. Leaves every other
 * error as it is.
 */
export async function explainRefusal(error: unknown, shown: Shown, io: Pick<CliIo, 'readFile'>): Promise<void> {
  if (error instanceof Error && 'code' in error && error.code === 'unauthenticated') hints.set(error, await hintFor(shown, io));
}

async function hintFor({ url, hasKey, folders }: Shown, io: Pick<CliIo, 'readFile'>): Promise<string> {
  const { hostname = '', port = '' } = URL.parse(url) ?? {};
  const isHere = /^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname);
  const orOwn = isHere ? ', or unset it: the user of a server on loopback needs none' : '';
  if (hasKey) return `sent was the key of client.apiKey (NEXUS_API_KEY): check it${orOwn}`;
  const orKey = 'set NEXUS_API_KEY to a key that its user made (nexus keys create)';
  if (!isHere) return `no key was sent: ${orKey}`;
  const name = `${port === '' ? 80 : port}.token`;
  for (const folder of folders) {
    const path = `${folder}/${name}`;
    const isThere = (await io.readFile(path).catch(() => null)) !== null; // what cannot be read is another user's
    if (isThere)
      return `the token in ${path} does not open it: another server has the port now, or others than this user may read the file; ${orKey}`;
  }
  return `there is no ${name} of this user in ${folders.join(' or ')}: the server runs as another user, with another HOME, XDG_STATE_HOME or data folder, or takes keys only; run this as its user, or ${orKey}`;
}
