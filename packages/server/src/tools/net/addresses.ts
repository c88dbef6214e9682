import { BlockList, isIP } from 'node:net';

/** What the IANA registries of special-purpose addresses (RFC 6890 and its updates) keep out of the public internet, and multicast. */
const special4 = subnets('ipv4', [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.31.196.0', 24],
  ['192.52.193.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['192.175.48.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
]);

/** Of IPv6 only global unicast is public at all: this leaves out loopback, link-local, unique local, multicast and NAT64. */
const global6 = subnets('ipv6', [['2000::', 3]]);

/** Inside global unicast: protocol assignments with Teredo, documentation, 6to4 (an IPv4 address in disguise) and AS112. */
const special6 = subnets('ipv6', [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['2620:4f:8000::', 48],
  ['3fff::', 20],
]);

const mapped4 = subnets('ipv6', [['::ffff:0:0', 96]]);

/** Whether an address (not a name) belongs to the public internet. Anything that is no plain address does not. */
export function isPublicAddress(address: string): boolean {
  if (address.includes('%')) return false; // a zone makes sense on the local link only
  switch (isIP(address)) {
    case 4:
      return !special4.check(address, 'ipv4');
    case 6:
      // The IPv4 rules also hold for IPv4 addresses that are written as IPv6.
      if (mapped4.check(address, 'ipv6')) return !special4.check(address, 'ipv6');
      return global6.check(address, 'ipv6') && !special6.check(address, 'ipv6');
    default:
      return false;
  }
}

function subnets(family: 'ipv4' | 'ipv6', list: readonly (readonly [address: string, prefix: number])[]): BlockList {
  const blockList = new BlockList();
  for (const [address, prefix] of list) blockList.addSubnet(address, prefix, family);
  return blockList;
}
