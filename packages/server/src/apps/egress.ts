import { BlockList, isIP } from 'node:net';
import { NexusError } from '#core';

/** `db.internal`, `db.internal:8080`, `[::1]:8080`. */
const hostPattern = /^(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\](?=:))(?::\d{1,5})?$/i;

/**
 * What may be reached although it is private, by a setting such as `httpFetch.allowPrivate`: `host`, `host:port`, an address, or a range such as
 * `10.1.0.0/16` for addresses that are written in the URL. Throws `config_invalid` for an entry that is none of these.
 */
export function egressOptions(
  entries: readonly string[],
  setting = 'httpFetch.allowPrivate',
): { readonly allowPrivate: (hostname: string, port: number) => boolean } {
  const names = new Set<string>();
  const ranges = new BlockList();
  for (const entry of entries) {
    const [, address = '', prefix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const family = isIP(address);
    if (family !== 0 && Number(prefix ?? 0) <= (family === 4 ? 32 : 128)) {
      if (prefix === undefined) ranges.addAddress(address, family === 4 ? 'ipv4' : 'ipv6');
      else ranges.addSubnet(address, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
    } else if (prefix === undefined && hostPattern.test(address)) {
      names.add(address.toLowerCase());
    } else {
      throw new NexusError('config_invalid', `${setting}: "${entry}" is none of host, host:port, an address or address/bits`);
    }
  }
  return {
    allowPrivate(hostname, port) {
      if (names.has(hostname) || names.has(`${hostname}:${port}`) || names.has(`[${hostname}]:${port}`)) return true;
      const family = isIP(hostname);
      return family !== 0 && ranges.check(hostname, family === 4 ? 'ipv4' : 'ipv6');
    },
  };
}
