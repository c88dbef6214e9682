import type { Approval } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { answerOf, questionOf } from './questions.ts';

const asked: Approval = {
  ...{ id: 'apr_1', runId: 'run_1', sessionId: 'ses_1', kind: 'question', status: 'pending', toolName: 'ask_human', arguments: {} },
  ...{ question: 'The MCP server table asks: Which?', choices: ['answer', 'deny'], defaultDecision: 'deny' },
  ...{ deadlineAt: '2026-05-31T08:00:00.000Z', createdAt: '2026-05-30T08:00:00.000Z' },
};
const about = { server: 'table', tool: 'table_book', question: 'Which?' };

it('a form of an MCP server is put to our clients as the form that it is [verifies mcp.server.approvals]', () => {
  const fields: NonNullable<Approval['form']>['fields'] = [
    { name: 'guests', type: 'integer', required: true, minimum: 1 },
    { name: 'place', type: 'choice', required: false, default: 'in', choices: [{ value: 'in' }, { value: 'out', title: 'outside' }] },
    { name: 'extras', type: 'choices', required: false, choices: [{ value: 'cake' }] },
    { name: 'name', type: 'text', required: false, format: 'email' },
  ];
  const approval = { ...asked, form: { ...about, fields } };
  expect(questionOf(approval)).toMatchObject({
    message: expect.stringMatching(/^The MCP server table asks: Which\?/),
    requestedSchema: {
      type: 'object',
      properties: {
        guests: { type: 'integer', minimum: 1 },
        place: {
          type: 'string',
          default: 'in',
          oneOf: [
            { const: 'in', title: 'in' },
            { const: 'out', title: 'outside' },
          ],
        },
        extras: { type: 'array', items: { anyOf: [{ const: 'cake', title: 'cake' }] } },
        name: { type: 'string', format: 'email' },
      },
      required: ['guests'],
    },
  });
  expect(answerOf(approval, { action: 'accept', content: { guests: 2 } })).toEqual({ decision: 'answer', content: { guests: 2 } });
  expect(answerOf(approval, { action: 'decline' })).toEqual({ decision: 'deny' });
});

it('an address is shown to them whole, and not as one to be opened by their client', () => {
  const approval = { ...asked, form: { ...about, url: 'https://pay.example.com/a', host: 'pay.example.com' } };
  expect(questionOf(approval)).toMatchObject({
    mode: 'form',
    message: expect.stringMatching(/in a browser, at pay\.example\.com: https:\/\/pay\.example\.com\/a/),
    requestedSchema: { type: 'object', properties: {} },
  });
  expect(answerOf(approval, { action: 'accept' })).toEqual({ decision: 'answer', content: {} });
});

it('what runs is what is read: signs that nobody sees are written out [verifies mcp.server.approvals]', () => {
  const hidden = 'rm -rf build\u202e\u2066 #\u200b';
  const { message } = questionOf({ ...asked, kind: 'tool_call', toolName: 'shell', arguments: { command: hidden } }) ?? {};
  expect(message).toContain('rm -rf build\\u202e\\u2066 #\\u200b');
  for (const question of [`Sure?${hidden}`, undefined])
    expect(questionOf({ ...asked, arguments: { hidden }, ...(question === undefined ? {} : { question }) })?.message).not.toMatch(
      /[\u202e\u2066\u200b]/,
    );
});
