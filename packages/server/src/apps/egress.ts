import { BlockList, isIP } from 'node:net';
import { NexusError } from '#core';

/**
 * What `http_fetch` may reach although it is private: `host`, `host:port`, an address, or a range such as
 * `10.1.0.0/16` for addresses that are written in the URL. Throws `config_invalid` for an entry that is none of these.
 */
export function egressOptions(entries: readonly string[]): { readonly allowPrivate: (hostname: string, port: number) => boolean } {
  const names = new Set<string>();
  const ranges = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix] = entry.split('/');
    if (prefix === undefined) {
      names.add(entry.toLowerCase());
      continue;
    }
    const family = isIP(address);
    const bits = Number(prefix);
    if (family === 0 || !Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) {
      throw new NexusError(
        'config_invalid',
        `httpFetch.allowPrivate: "${entry}" is no range; expected host, host:port, an address or address/bits`,
      );
    }
    ranges.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6');
  }
  return {
    allowPrivate(hostname, port) {
      if (names.has(hostname) || names.has(`${hostname}:${port}`) || names.has(`[${hostname}]:${port}`)) return true;
      const family = isIP(hostname);
      return family !== 0 && ranges.check(hostname, family === 4 ? 'ipv4' : 'ipv6');
    },
  };
}
