import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isPublicAddress } from './addresses.ts';

it('knows public addresses', () => {
  for (const address of ['1.1.1.1', '8.8.8.8', '93.184.215.14', '2606:4700:4700::1111', '2a00:1450:4001:82f::200e', '::ffff:8.8.8.8']) {
    expect([address, isPublicAddress(address)]).toEqual([address, true]);
  }
});

it('judges an IPv4 address the same when it is written as IPv6', () => {
  fc.assert(fc.property(fc.ipV4(), (address) => isPublicAddress(address) === isPublicAddress(`::ffff:${address}`)));
});

it('never takes a private, loopback, link-local or multicast IPv4 address for public', () => {
  const first = fc.constantFrom(0, 10, 127, ...Array.from({ length: 32 }, (_, index) => 224 + index));
  const rest = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255));
  fc.assert(fc.property(first, rest, (head, tail) => !isPublicAddress([head, ...tail].join('.'))));
});

it('takes no IPv6 address outside global unicast for public', () => {
  const groups = fc.array(fc.nat(0xffff), { minLength: 7, maxLength: 7 });
  const outside = fc.nat(0xffff).filter((head) => head >> 13 !== 1 && head !== 0);
  fc.assert(fc.property(outside, groups, (head, tail) => !isPublicAddress([head, ...tail].map((group) => group.toString(16)).join(':'))));
});

it('takes nothing else for an address', () => {
  for (const text of ['', 'localhost', '1.1.1', '1.1.1.1%eth0', 'fe80::1%eth0', '2606:4700::1111%1', '0x7f.1', '1.1.1.1:80', '[::1]']) {
    expect(isPublicAddress(text)).toBe(false);
  }
});
