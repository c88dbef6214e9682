import { expect, it } from 'vitest';
import { createTenantShare } from './tenant-share.ts';

it('refuses what one tenant has under way beyond its share, and nobody else [verifies hostile.shares.requests]', () => {
  const share = createTenantShare({ what: 'streams', limit: 2, setting: 'limits.tenantStreams' });
  const leave = share.enter('a');
  share.enter('a');
  expect(() => share.enter('a')).toThrow(
    expect.objectContaining({ code: 'rate_limited', retryAfterMs: 1_000, details: { what: 'streams', limit: 2, used: 2 } }),
  );
  expect(() => share.enter('b')).not.toThrow();
  leave();
  leave(); // counts once
  expect(() => share.enter('a')).not.toThrow();
  expect(() => share.enter('a')).toThrow(/2 streams of this tenant are under way here, and no more may be \(limits\.tenantStreams\)/);
});
