import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, startVictim, type Victim } from './support/victim.ts';

describe.each(await databases())('a server on %s', (database) => {
  let victim: Victim;
  beforeAll(async () => {
    victim = await startVictim({ database });
  });
  afterAll(() => victim.close());

  it('stands and answers', async () => {
    await victim.unmoved(async () => expect((await victim.call('GET', '/v1/sessions')).status).toBe(200));
  });
});
