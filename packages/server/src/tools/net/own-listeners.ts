import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

/** The ports at which this process itself answers. */
export interface OwnListeners {
  add(port: number): void;
  /** Whether an address leads to this machine, at a port where this process answers. Names are none: ask for what they resolve to. */
  isOwn(address: string, port: number): boolean;
}

/**
 * What this process answers is never a target of its tools, whatever is granted: over loopback, a request looks as if it were one of the
 * person at the machine. Any address of this machine counts, whichever the port is bound to, since what is bound changes with a restart
 * and a grant does not.
 */
export function createOwnListeners(addressesOfMachine: () => readonly string[] = addressesOfInterfaces): OwnListeners {
  const ports = new Set<number>();
  return {
    add: (port) => void ports.add(port),
    isOwn(address, port) {
      if (!ports.has(port)) return false;
      const plain = address.replace(/%.*$/, '');
      const family = isIP(plain);
      if (family === 0) return false;
      const own = new BlockList();
      own.addSubnet('127.0.0.0', 8, 'ipv4');
      // The system takes any address of this range, and the unspecified one, for this machine.
      own.addSubnet('0.0.0.0', 8, 'ipv4');
      own.addAddress('::1', 'ipv6');
      own.addAddress('::', 'ipv6');
      // Written as IPv6 these IPv4 addresses count too: as mapped ones by the list itself, in the form from before that here.
      own.addSubnet('::7f00:0', 104, 'ipv6');
      for (const each of addressesOfMachine())
        own.addAddress(each.replace(/%.*$/, ''), isIP(each.replace(/%.*$/, '')) === 4 ? 'ipv4' : 'ipv6');
      return own.check(plain, family === 4 ? 'ipv4' : 'ipv6');
    },
  };
}

function addressesOfInterfaces(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
}
