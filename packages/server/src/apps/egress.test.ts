import { expect, it } from 'vitest';
import { egressOptions } from './egress.ts';

it.each([
  [['db.internal'], 'db.internal', 5432, true],
  [['DB.Internal'], 'db.internal', 5432, true],
  [['db.internal:5432'], 'db.internal', 5432, true],
  [['db.internal:5432'], 'db.internal', 80, false],
  [['10.1.2.3'], '10.1.2.3', 80, true],
  [['10.1.2.3'], '10.1.2.4', 80, false],
  [['10.1.2.3:80'], '10.1.2.3', 80, true],
  [['10.1.2.3:80'], '10.1.2.3', 81, false],
  [['10.1.0.0/16'], '10.1.9.9', 80, true],
  [['10.1.0.0/16'], '10.2.0.1', 80, false],
  [['::1'], '::1', 80, true],
  [['0:0:0:0:0:0:0:1'], '::1', 80, true],
  [['[::1]:8080'], '::1', 8080, true],
  [['[::1]:8080'], '::1', 80, false],
  [['fd00::/8'], 'fd12::1', 80, true],
  [[], '127.0.0.1', 80, false],
] as const)('%j lets %s:%i through: %s', (entries, hostname, port, expected) => {
  expect(egressOptions(entries).allowPrivate(hostname, port)).toBe(expected);
});

it.each(['10.1.0.0/', '10.1.0.0/33', '10.1.0.0/8/9', '::1/129', 'db.internal/24', 'https://db.internal', 'db internal', '[::1]', ''])(
  'refuses "%s", which is no host, address or range',
  (entry) => {
    expect(() => egressOptions([entry])).toThrow(expect.objectContaining({ code: 'config_invalid' }));
  },
);
