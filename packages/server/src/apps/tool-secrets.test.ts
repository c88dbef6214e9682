import { describe, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { createEdgeSecrets, createToolSecrets } from './tool-secrets.ts';

const value = 'sk-Ab9Cd8Ef7Gh6Ij5';
type Grants = { secret: string; hosts: string[]; header?: string; form?: string; tenants?: string[] }[];
const of = (secretHeaders: Grants, secrets: Record<string, string> = { DEMO: value }) =>
  createEdgeSecrets(resolveConfig({ env: {}, flags: { secrets, secretHeaders } }));
const api = { hostname: 'api.example.com', port: 443 };

it('secrets that calls name go to the hosts, ports and tenants of their grant only [verifies tools.edge.decided]', () => {
  const secrets = of([
    { secret: 'DEMO', hosts: ['API.example.com', '*.example.org:8443', 'localhost:8080'], tenants: ['default', 'acme'] },
    { secret: 'DEMO', hosts: ['other.test'], header: 'X-Api-Key', form: '{}' },
  ]);
  expect(secrets.find('default', 'DEMO', api)).toMatchObject({ name: 'DEMO', header: 'authorization', value: `Bearer ${value}` });
  expect(secrets.find('acme', 'DEMO', { hostname: 'a.example.org', port: 8443 })?.value).toBe(`Bearer ${value}`);
  expect(secrets.find('default', 'DEMO', { hostname: 'localhost', port: 8080 })).not.toBeNull();
  expect(secrets.find('default', 'DEMO', { hostname: 'other.test', port: 443 })).toMatchObject({ header: 'x-api-key', value });
  for (const [tenant, name, to] of [
    ['beta', 'DEMO', api],
    ['acme', 'DEMO', { hostname: 'other.test', port: 443 }],
    ['default', 'OTHER', api],
    ['default', 'DEMO', { ...api, port: 8443 }],
    ['default', 'DEMO', { ...api, port: 80 }],
    ['default', 'DEMO', { hostname: 'a.example.org', port: 443 }],
    ['default', 'DEMO', { hostname: 'api.example.com.evil.test', port: 443 }],
    ['default', 'DEMO', { hostname: 'evil-api.example.com', port: 443 }],
    ['default', 'DEMO', { hostname: 'example.org', port: 8443 }],
  ] as const)
    expect(secrets.find(tenant, name, to), `${tenant} ${name} ${to.hostname}:${to.port}`).toBeNull();
  expect(of([]).find('default', 'DEMO', api)).toBeNull();
});

it('a port of an address of IPv6 is no part of another address [verifies tools.edge.decided tools.secrets.granted]', () => {
  const called = of([{ secret: 'DEMO', hosts: ['[2001:db8::5]:8443', '*:9000'] }]);
  const tenants = [{ secret: 'DEMO', tenant: 'acme', hosts: ['[2001:db8::5]:8443', '*:9000'] }];
  const defined = createToolSecrets(resolveConfig({ env: {}, flags: { secrets: { DEMO: value }, secretGrants: tenants } }));
  for (const find of [called.find.bind(null, 'default', 'DEMO'), defined.find.bind(null, 'acme', 'DEMO')]) {
    expect(find({ hostname: '2001:db8::5', port: 8443 })).not.toBeNull();
    for (const hostname of ['2001:db8::5:8443', '2001:db8::9000']) expect(find({ hostname, port: 443 }), hostname).toBeNull();
  }
  for (const hosts of [['2001:db8::5:8443'], ['::1']]) {
    expect(() => of([{ secret: 'DEMO', hosts }])).toThrow(/in brackets/);
    const config = resolveConfig({ env: {}, flags: { secrets: {}, secretGrants: [{ secret: 'DEMO', tenant: 'acme', hosts }] } });
    expect(() => createToolSecrets(config)).toThrow(/in brackets/);
  }
});

it('a secret with signs that mean something in a replacement goes as it is', () => {
  const odd = "sk-$&$'$`$$-0123456789";
  expect(of([{ secret: 'DEMO', hosts: ['api.example.com'] }], { DEMO: odd }).find('default', 'DEMO', api)?.value).toBe(`Bearer ${odd}`);
});

describe('a grant is refused at the start, without its value', () => {
  it.each([
    ['a secret that there is not', { secret: 'OTHER' }, value, /names OTHER, which secrets does not have/],
    ['a header of the connection', { header: 'Host' }, value, /no secret can be sent in the header Host/],
    ['a value that is a word', {}, 'password', /too short or too plain/],
    ['a value that no header may have', {}, 'sk-0123456789\nevil', /characters that no header may have/],
  ])('%s [verifies tools.edge.decided]', (_what, more, secret, error) => {
    const made = () => of([{ secret: 'DEMO', hosts: ['api.example.com'], ...more }], { DEMO: secret });
    expect(made).toThrow(error);
    expect(made).not.toThrow(secret.split('\n')[0]);
  });

  it.each([{ form: 'Bearer' }, { form: 'a\r\nb: {}' }, { hosts: [] }, { header: 'x y' }, { tenants: [] }])('%j', (more) => {
    expect(() => of([{ secret: 'DEMO', hosts: ['api.example.com'], ...more }])).toThrow(
      expect.objectContaining({ code: 'config_invalid' }),
    );
  });
});
