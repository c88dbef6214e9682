import { expect, it } from 'vitest';
import type { McpConnection } from './connection.ts';
import { createHiddenTokens } from './hidden-tokens.ts';

it('is in no question that a server asks in the midst of a call [verifies tools.mcp.oauth.hidden]', async () => {
  const token = 'at_Qm7xV2pLr9TzKd4WsB8n';
  const hidden = createHiddenTokens();
  hidden.add(token);
  const connection = {
    server: 'docs',
    callTool: async (_tool, _input, { onAsked }) =>
      onAsked?.({ method: 'elicitation/create', params: { message: `you show ${token}`, requestedSchema: { type: 'object' } } }),
  } as McpConnection; // all of it that is used
  const asked: unknown[] = [];
  await hidden.within(connection).callTool(
    { name: 'ask', inputSchema: {} } as never,
    {},
    {
      ...{ signal: new AbortController().signal, timeoutMs: 1_000 },
      onAsked: async (request) => void asked.push(request.params),
    },
  );
  expect(asked).toEqual([{ message: 'you show [redacted]', requestedSchema: { type: 'object' } }]);
});
