import { Agent, request } from 'undici';

/** A plain HTTP client of the server under test. */
export function createClient(url: string, connections: number) {
  const dispatcher = new Agent({ connections, pipelining: 1, headersTimeout: 120_000, bodyTimeout: 120_000 });
  const headers = { 'content-type': 'application/json' };

  async function send(method: 'POST' | 'PUT', path: string, body: string): Promise<{ status: number; text: string }> {
    const answer = await request(`${url}${path}`, { method, dispatcher, headers, body });
    return { status: answer.statusCode, text: await answer.body.text() };
  }
  const post = (path: string, body: string) => send('POST', path, body);

  return {
    post,
    put: (path: string, body: string) => send('PUT', path, body),
    async get(path: string): Promise<{ status: number; text: string }> {
      const answer = await request(`${url}${path}`, { dispatcher });
      return { status: answer.statusCode, text: await answer.body.text() };
    },
    /** Opens an event stream and leaves reading it to the caller. */
    async stream(path: string, body?: string) {
      const answer = await request(`${url}${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        dispatcher,
        headers: body === undefined ? { accept: 'text/event-stream' } : { ...headers, accept: 'text/event-stream' },
        ...(body === undefined ? {} : { body }),
      });
      if (answer.statusCode !== 200) throw new Error(`${path} answered ${answer.statusCode}: ${await answer.body.text()}`);
      return answer.body;
    },
    /** The agent that the benchmarks run: one tool unless others are named, all of policy and budgets on. */
    async putAgent(tools: readonly string[] = ['lookup'], maxSteps = 50): Promise<void> {
      const agent = {
        name: 'bench',
        models: ['mock/mock'],
        instructions: 'Look the keys up and answer.',
        tools,
        policy: { allow: tools },
        maxSteps,
      };
      const put = await post('/v1/agents', JSON.stringify(agent));
      if (put.status >= 300) throw new Error(put.text);
    },
    close: () => dispatcher.destroy(),
  };
}

export const runRequest = JSON.stringify({
  agent: 'bench',
  input: 'Look the keys up and answer.',
  budget: { costMicroUsd: 1_000_000, tokens: 1_000_000 },
});
