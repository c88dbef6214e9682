import fc from 'fast-check';
import { expect, it } from 'vitest';
import { offeredName } from './names.ts';

const server = fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/);

it('gives every tool of every server a name of its own that all providers take', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(server, fc.string({ minLength: 1, maxLength: 120, unit: 'binary' })), { maxLength: 20, selector: String }),
      (tools) => {
        const names = tools.map(([of, tool]) => offeredName(of, tool));
        for (const name of names) expect(name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
        expect(new Set(names).size).toBe(tools.length);
        expect(tools.map(([of, tool]) => offeredName(of, tool))).toEqual(names);
      },
    ),
  );
});

it('keeps the name of the server as it is where it fits', () => {
  expect(offeredName('github', 'create_issue')).toBe('github_create_issue');
  expect(offeredName('a', 'b.c')).toMatch(/^a_b_c_[0-9a-f]{8}$/);
  expect(offeredName('a', 'b.c')).not.toBe(offeredName('a', 'b c'));
});
