import { expect, it } from 'vitest';
import { parseAgents } from './agent-folder.ts';

it.each([
  ['name: a\ntools: fs_read', '/agents/a.yaml: tools: expected array, got "fs_read"'],
  ['name: a\ntool: [fs_read]', '/agents/a.yaml: tool: unknown field; did you mean "tools"?'],
  ['name: A b', '/agents/a.yaml: name: .*got "A b"'],
  ['name: a\nmaxSteps: 0', '/agents/a.yaml: maxSteps: expected number of at least 1, got 0'],
  ['name: a\npolicy: { allow: [5] }', '/agents/a.yaml: policy\\.allow\\[0\\]: expected string, got 5'],
  ['name: a\npolicy: { alow: [x] }', '/agents/a.yaml: policy\\.alow: unknown field; did you mean "allow"\\?'],
  ['', '/agents/a.yaml: expected object, got null'],
  ['name: [', '/agents/a.yaml is not valid YAML: '],
])(
  'a faulty file %j is refused with file, place, what was there and what would be right [verifies agents.names]',
  async (text, message) => {
    await expect(parseAgents([{ name: 'a.yaml', text }], '/agents')).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message.startsWith('/agents/a.yaml: t') ? message.replaceAll(/[?[\]()]/g, '\\$&') : message),
    });
  },
);
