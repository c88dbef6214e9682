import { Resolver, lookup as systemLookup } from 'node:dns/promises';
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { NexusError } from '#core';
import type { ResolvedAddress } from './egress.ts';

export interface NameResolverOptions {
  /** How long one question waits for its answer; it is asked twice. */
  readonly timeoutMs?: number;
  /** Names in files, as of this machine. */
  readonly hostsFile?: string;
  /** Servers to ask instead of those of this machine, as `192.0.2.1:53`. */
  readonly servers?: readonly string[];
  /** What the system says of a name. */
  readonly askSystem?: (hostname: string) => Promise<readonly ResolvedAddress[]>;
}

export interface NameResolver {
  /**
   * All addresses of a name from outside. It is asked of the name servers on sockets: the system's own resolver keeps one of the few
   * threads of the process, which files need as well, for as long as a name server is silent.
   */
  ofOutside(hostname: string, signal?: AbortSignal): Promise<readonly ResolvedAddress[]>;
  /**
   * All addresses of a name that the operator granted, by whatever means the system has (search domains, mDNS). These names are few: all that
   * ask for the same one at once share its answer, and at most two are looked for at a time.
   */
  ofOperator(hostname: string): Promise<readonly ResolvedAddress[]>;
}

const maxSystemLookups = 2;
/** Found nothing: what is left to say is that the name has no address. */
const noAnswer = new Set(['ENODATA', 'ENOTFOUND', 'ENONAME']);

export function createNameResolver(options: NameResolverOptions = {}): NameResolver {
  const { timeoutMs = 2_500, hostsFile = '/etc/hosts', servers, askSystem = resolveBySystem } = options;
  const hosts = createHostsFile(hostsFile);
  const asked = new Map<string, Promise<readonly ResolvedAddress[]>>();
  const queue: (() => void)[] = [];
  let looking = 0;

  async function lookUpInTurn(hostname: string): Promise<readonly ResolvedAddress[]> {
    if (looking >= maxSystemLookups) await new Promise<void>((resolve) => queue.push(resolve));
    else looking += 1;
    try {
      return await askSystem(hostname);
    } finally {
      const next = queue.shift();
      if (next === undefined) looking -= 1;
      else next();
    }
  }

  return {
    async ofOutside(hostname, signal) {
      const known = await hosts.find(hostname);
      if (known.length > 0) return known;
      // One for each name: silence that one name meets delays no other, and ends with its call.
      const resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
      if (servers !== undefined) resolver.setServers(servers);
      const onAbort = () => resolver.cancel();
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        const [four, six] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
        const found = [...addressesOf(four, 4), ...addressesOf(six, 6)];
        if (found.length > 0) return found;
        for (const each of [four, six]) if (each.status === 'rejected') throw explainSilence(hostname, each.reason);
        return [];
      } finally {
        signal?.removeEventListener('abort', onAbort);
      }
    },
    ofOperator(hostname) {
      const known = asked.get(hostname);
      if (known !== undefined) return known;
      const answer = lookUpInTurn(hostname).finally(() => asked.delete(hostname));
      asked.set(hostname, answer);
      return answer;
    },
  };
}

function addressesOf(answer: PromiseSettledResult<string[]>, family: 4 | 6): ResolvedAddress[] {
  return answer.status === 'fulfilled' ? answer.value.map((address) => ({ address, family })) : [];
}

function explainSilence(hostname: string, error: unknown): NexusError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (noAnswer.has(code)) return new NexusError('tool_failed', `there is no host ${hostname} (${code}); check the URL`, { cause: error });
  return new NexusError('tool_failed', `the name ${hostname} could not be looked up (${code}); its name server may be silent, try later`, {
    cause: error,
  });
}

async function resolveBySystem(hostname: string): Promise<readonly ResolvedAddress[]> {
  return systemLookup(hostname, { all: true });
}

const maxHostsBytes = 4 * 1024 * 1024;

/** The hosts file as it stands, read again when it has changed. */
function createHostsFile(path: string): { find(hostname: string): Promise<readonly ResolvedAddress[]> } {
  let names = new Map<string, ResolvedAddress[]>();
  let version = '';
  let reading: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    const about = await stat(path).catch(() => undefined);
    const found = about === undefined || about.size > maxHostsBytes ? '' : `${about.mtimeMs} ${about.size} ${about.ino}`;
    if (found !== version) {
      names = found === '' ? new Map() : parseHosts(await readFile(path, 'utf8').catch(() => ''));
      version = found;
    }
  }

  return {
    async find(hostname) {
      reading ??= refresh().finally(() => {
        reading = undefined;
      });
      await reading;
      return names.get(hostname.toLowerCase()) ?? [];
    },
  };
}

function parseHosts(text: string): Map<string, ResolvedAddress[]> {
  const names = new Map<string, ResolvedAddress[]>();
  for (const line of text.split('\n')) {
    const [address = '', ...given] = line.replace(/#.*$/, '').trim().split(/\s+/);
    const family = isIP(address);
    if (family === 0) continue;
    for (const name of given) {
      const key = name.toLowerCase();
      const known = names.get(key) ?? [];
      known.push({ address, family });
      names.set(key, known);
    }
  }
  return names;
}
