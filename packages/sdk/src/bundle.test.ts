import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { expect, it } from 'vitest';

it.each([
  ['of a page that talks to a server', 'export { collectText, createNexusClient, NexusApiError } from', 12_000],
  ['of a program that takes all of it', 'export * from', 15_000],
])('is small in the bundle %s, without the schemas of the protocol', async (_whose, taken, most) => {
  const entry = 'virtual:page';
  const bundle = await rolldown({
    input: entry,
    cwd: fileURLToPath(new URL('.', import.meta.url)), // packages are found as npm installed them
    platform: 'browser',
    resolve: { conditionNames: ['nexus-source', 'import', 'browser', 'default'] },
    plugins: [
      {
        name: 'page',
        resolveId: (id) => (id === entry ? `${import.meta.dirname}/page.js` : null),
        load: (id) => (id.endsWith('/page.js') ? `${taken} '@nexus-agent/sdk';` : null),
      },
    ],
  });
  const { output } = await bundle.generate({ minify: true });
  await bundle.close();
  const code = output.map((chunk) => ('code' in chunk ? chunk.code : '')).join('');
  const modules = output.flatMap((chunk) => ('moduleIds' in chunk ? chunk.moduleIds : []));
  expect(code).toContain('NexusApiError');
  expect(modules.filter((id) => /zod|node:/.test(id))).toEqual([]);
  const bytes = gzipSync(code).length;
  expect(bytes, `${bytes} bytes`).toBeLessThan(most);
});
