import { describe, expect, it } from 'vitest';
import { authorityOf, hostAndPort, hostPattern } from './hosts.ts';

describe('a host has one form', () => {
  it.each([
    ['Evil.Example', 'evil.example'],
    ['evil.example.', 'evil.example'],
    ['evil.example..', 'evil.example'],
    ['b\u00fccher.example', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['\uff45vil.example', 'evil.example'],
    ['evil\u3002example', 'evil.example'],
    ['evi%6c.example', 'evil.example'],
    ['127.1', '127.0.0.1'],
    ['0x7f.0.0.1', '127.0.0.1'],
    ['2130706433', '127.0.0.1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['[::1]', '::1'],
    ['2001:DB8::0:1', '2001:db8::1'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['[::FFFF:7F00:1]', '127.0.0.1'],
    ['::ffff:0:1', '0.0.0.1'],
    ['localhost', 'localhost'],
    ['a_b.example', 'a_b.example'],
  ])('%s is %s', (text, name) => {
    expect(hostAndPort(text)).toEqual({ name });
    expect(hostAndPort(name)).toEqual({ name });
  });

  it.each([
    '',
    '.',
    'https://evil.example',
    'evil.example/path',
    'user@evil.example',
    'evil example',
    'a\tb',
    'a\\b',
    '[::1',
    '::1%eth0',
    '1.2.3.4.5.6',
    'evil..example',
    '.evil.example',
    'a?b',
    'a#b',
  ])('%j is none', (text) => expect(hostAndPort(text)).toBeNull());

  it('a port stands apart, and an address with one in brackets', () => {
    expect(hostAndPort('Example.com:8443')).toEqual({ name: 'example.com', port: 8443 });
    expect(hostAndPort('[0::1]:443')).toEqual({ name: '::1', port: 443 });
    expect(hostAndPort('::1:443')).toEqual({ name: '::1:443' });
    expect(hostAndPort('example.com:70000')).toBeNull();
    expect(authorityOf({ name: '::1', port: 443 })).toBe('[::1]:443');
    expect(authorityOf({ name: 'example.com', port: 443 })).toBe('example.com:443');
    expect(authorityOf({ name: 'example.com' })).toBe('example.com');
  });

  it.each([
    ['*', '*'],
    ['*.Example.COM', '*.example.com'],
    ['*.example.com.', '*.example.com'],
    ['*.b\u00fccher.example', '*.xn--bcher-kva.example'],
    ['*.example.com:8443', '*.example.com:8443'],
    ['10.0.*', '10.0.*'],
    ['127.1', '127.0.0.1'],
    ['Example.com:443', 'example.com:443'],
    ['2001:db8:*', '2001:db8:*'],
    ['b\u00fc*.example', null],
    ['https://*.example.com', null],
    ['*.example.com/*', null],
    ['a b*', null],
  ])('the pattern %s is compared as %s', (pattern, form) => expect(hostPattern(pattern)).toBe(form));
});
