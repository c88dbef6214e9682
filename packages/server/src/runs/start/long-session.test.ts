import type { Message, SessionId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { completed, growSession, openTestRuns, principal, type TestRuns } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

it('a session of 10,500 runs goes on where nothing of it is known, each of them told once and in order', async () => {
  const asked: (readonly Message[])[] = [];
  const opened = await openTestRuns({
    contextTokens: 10_000_000,
    // Nothing is remembered from one run to the next, as after a restart.
    settings: { transcriptChars: 1 },
    async *attempt({ request }) {
      asked.push(request.messages);
      yield completed(`answer ${asked.length}`);
    },
  });
  runs = opened;
  const { session } = await opened.orchestrator.sessions.create(principal, {}, {});
  const sessionId = session.id as SessionId; // as the engine numbered it
  const say = async (input: string) => {
    const runId = await opened.start({ sessionId, input });
    await opened.until(async () => (await opened.row(runId)).status === 'completed');
  };
  await say('first');
  await say('second');
  await growSession(opened.engine.store, principal.tenantId, sessionId, 10_500);
  await say('last');
  const told = (asked.at(-1) ?? []).map(({ role, content: [part] }) => `${role}: ${part?.type === 'text' ? part.text : ''}`);
  const again = Array.from({ length: 10_499 }, () => ['user: second', 'assistant: answer 2']);
  expect(told).toEqual(['user: first', 'assistant: answer 1', ...again.flat(), 'user: last']);
}, 60_000);
