import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redactConfig, resolveConfig } from '#apps/config';
import { type ProxyQuestion, proxyFor } from './proxy.ts';

const both = { HTTPS_PROXY: 'http://secure.proxy:3128', HTTP_PROXY: 'http://plain.proxy:3128' };

function route(question: ProxyQuestion | string, env: Record<string, string>): string | undefined {
  return proxyFor(typeof question === 'string' ? { baseUrl: question } : question, resolveConfig({ env }).proxy);
}

describe('the proxy of a provider', () => {
  it.each([
    ['https://api.test/v1', both, 'http://secure.proxy:3128/'],
    ['http://api.test/v1', both, 'http://plain.proxy:3128/'],
    ['https://api.test/v1', { HTTP_PROXY: 'http://plain.proxy:3128' }, undefined],
    ['http://api.test/v1', { HTTPS_PROXY: 'http://secure.proxy:3128' }, undefined],
    ['https://api.test/v1', { https_proxy: 'http://small.proxy:1' }, 'http://small.proxy:1/'],
    ['https://api.test/v1', { ...both, https_proxy: 'http://small.proxy:1' }, 'http://small.proxy:1/'],
    ['https://api.test/v1', { ...both, https_proxy: '' }, 'http://secure.proxy:3128/'],
    ['https://api.test/v1', { HTTPS_PROXY: 'proxy.test:3128' }, 'http://proxy.test:3128/'],
    ['https://api.test/v1', { HTTPS_PROXY: 'user:word@proxy.test:3128' }, 'http://user:word@proxy.test:3128/'],
    ['https://api.test/v1', {}, undefined],
  ])('of %s by %j is %s', (baseUrl, env, expected) => {
    expect(route(baseUrl, env)).toBe(expected);
  });

  it.each([
    ['api.test', 'https://api.test', true],
    ['API.Test', 'https://api.test.', true],
    ['api.test', 'https://eu.api.test', true],
    ['.api.test', 'https://eu.api.test', true],
    ['.api.test', 'https://api.test', true],
    ['*.api.test', 'https://eu.api.test', true],
    ['*.api.test', 'https://api.test', false],
    ['api.test', 'https://notapi.test', false],
    ['pi.test', 'https://api.test', false],
    ['other.test, api.test', 'https://api.test', true],
    ['other.test api.test', 'https://api.test', true],
    ['*', 'https://api.test', true],
    ['api.test:443', 'https://api.test', true],
    ['api.test:8443', 'https://api.test', false],
    ['api.test:8443', 'https://api.test:8443', true],
    ['api.test:80', 'http://api.test', true],
    ['10.0.0.0/8', 'http://10.1.2.3:8000/v1', true],
    ['10.0.0.0/8', 'http://11.1.2.3:8000/v1', false],
    ['10.1.2.3', 'http://10.1.2.3:8000/v1', true],
    ['10.1.2.3:8000', 'http://10.1.2.3:8000/v1', true],
    ['10.1.2', 'http://10.1.2.3/v1', false],
    ['2.3', 'http://10.1.2.3/v1', false],
    ['fd00::/8', 'http://[fd00::7]:8000/v1', true],
    ['fd00::7', 'http://[fd00::7]:8000/v1', true],
    ['[fd00::7]:8000', 'http://[fd00::7]:8000/v1', true],
    ['[fd00::7]:8001', 'http://[fd00::7]:8000/v1', false],
    ['', 'https://api.test', false],
    [',', 'https://api.test', false],
  ])('with NO_PROXY "%s" is left out for %s: %s', (except, baseUrl, direct) => {
    for (const name of ['NO_PROXY', 'no_proxy']) expect(route(baseUrl, { ...both, [name]: except }) === undefined, name).toBe(direct);
  });

  it.each([
    'http://127.0.0.1:11434/v1',
    'http://localhost:11434/v1',
    'http://[::1]:1/v1',
    'https://models.localhost/v1',
    'http://127.8.9.1/v1',
  ])('is left out for %s, on this machine, unless it is asked for', (baseUrl) => {
    expect(route(baseUrl, both)).toBeUndefined();
    expect(route({ baseUrl, proxy: true }, both)).toBeDefined();
  });

  it('is used or not as the provider says, whatever NO_PROXY says', () => {
    const baseUrl = 'https://api.test';
    expect(route({ baseUrl, proxy: true }, { ...both, NO_PROXY: '*' })).toBeDefined();
    expect(route({ baseUrl, proxy: false }, both)).toBeUndefined();
    expect(() => route({ baseUrl, proxy: true }, {})).toThrow(/api\.test is to be reached through a proxy, but proxy\.https/);
  });

  it.each([
    ['socks5://proxy.test:1080', 'of the kind socks5:'],
    ['http://', 'is no address'],
    ['http://proxy.test:99999', 'is no address'],
  ])('stops the start when it is %s and needed, without its password', (address, why) => {
    expect(() => route('https://api.test', { HTTPS_PROXY: address })).toThrow(why);
    expect(route('http://127.0.0.1:1', { HTTPS_PROXY: address })).toBeUndefined();
    try {
      route('https://api.test', { HTTPS_PROXY: address.replace('://', '://user:secret-word@') });
    } catch (error) {
      expect(String(error)).not.toContain('secret-word');
    }
  });

  it('is shown without its password, also when it was written without a scheme', () => {
    for (const address of ['http://user:secret-word@proxy.test:1', 'user:secret-word@proxy.test:1']) {
      expect(JSON.stringify(redactConfig(resolveConfig({ env: { HTTPS_PROXY: address } })))).not.toContain('secret-word');
    }
  });

  it('never fails on what NO_PROXY may hold', () => {
    fc.assert(
      fc.property(fc.string(), fc.webUrl({ validSchemes: ['https'] }), (except, baseUrl) => {
        expect([undefined, 'http://secure.proxy:3128/']).toContain(route(baseUrl, { ...both, NO_PROXY: except }));
      }),
    );
  });
});
