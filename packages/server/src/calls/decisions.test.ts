import { expect, it } from 'vitest';
import { denialMessage } from './decisions.ts';

const said = (action: string, resource: string, reasons = ['default-deny']) =>
  denialMessage({ id: 'dec_1', effect: 'deny', action, resource, reasons, policyVersion: 'v' } as Parameters<typeof denialMessage>[0]);

it.each([
  ['tool.execute', 'Tool::"fs_write"', 'allow: ["fs_write"] in the policy of the agent or of the operator can allow it'],
  ['net.egress', 'Host::"example.com"', 'allow: ["net:example.com"] in the policy of the agent'],
  ['secret.use', 'Secret::"TRACKER"', 'allow: ["secret:TRACKER"] in the policy of the agent'],
  ['model.invoke', 'Model::"sim/sim-large"', 'allow: ["model:sim/sim-large"] in the policy of the agent'],
  ['file.read', 'File::"a.md"', 'nothing permits it: the policy of the agent'],
  ['tool.execute', 'Tool::"*"', 'nothing permits it: the policy of the agent'],
])('names the line that permits %s of %s [verifies policy.explains]', (action, resource, line) => {
  expect(said(action, resource)).toContain(line);
});

it('names no line where a policy forbids it, or where people ask [verifies policy.explains]', () => {
  expect(said('tool.execute', 'Tool::"probe"', ['agent:deny[0]'])).not.toContain('allow:');
  expect(said('admin.read', 'Tool::"probe"')).not.toContain('allow:');
});
