import { Agent, request as send } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { howMany } from '../support/how-many.ts';
import { createRequests, type FuzzRequest } from './support/openapi-requests.ts';
import { databases, startVictim, type Victim } from './support/victim.ts';

/** How many requests on the first database; a tenth on each other one. */
const count = howMany('NEXUS_TEST_FUZZ', 5_000);
const seed = Number(process.env.NEXUS_TEST_SEED ?? Date.now() % 1_000_000);
/** At once. */
const clients = 24;
/** Of a stream no more is read. */
const longestStreamMs = 150;
const longestAnswerMs = 20_000;

interface Answered {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

describe.each((await databases()).map((database, index) => ({ database, requests: Math.ceil(index === 0 ? count : count / 10) })))(
  'a server on $database',
  ({ database, requests }) => {
    let victim: Victim;
    let agent: Agent;
    beforeAll(async () => {
      victim = await startVictim({ database, config: { log: { level: 'warn' } } });
      agent = new Agent({ keepAlive: true, maxSockets: clients });
      await victim.agent('helper');
    });
    afterAll(async () => {
      agent.destroy();
      await victim.close();
    });

    it(`answers ${requests} requests made up from its OpenAPI document: none fails inside, each refusal is a problem, memory stays [verifies hostile.requests.fuzz]`, async () => {
      const { body: document } = await victim.call('GET', '/openapi.json');
      // What all later requests need must stay; the pages are large and say the same each time.
      const made = createRequests(document, seed, (operation) => / \/(docs|openapi.json|metrics)?$/.test(operation));
      expect(made.operations).toBeGreaterThan(35);
      const statuses = new Map<string, number>();
      const faults: string[] = [];
      let left = requests;
      let warm = 0;
      async function client(): Promise<void> {
        while (left > 0 && faults.length < 6) {
          left -= 1;
          if (left === Math.floor(requests * 0.7)) warm = victim.residentMb();
          const asked = made.next();
          const answer = await ask(victim, agent, asked).catch((error: Error) => ({ status: 0, type: '', text: String(error) }));
          const kind = `${Math.floor(answer.status / 100)}xx`;
          statuses.set(kind, (statuses.get(kind) ?? 0) + 1);
          const wrong = faultOf(answer, asked);
          if (wrong !== null)
            faults.push(
              `${wrong}: ${asked.method} ${asked.path.slice(0, 120)} ${asked.body?.slice(0, 300) ?? ''} → ${answer.status} ${answer.text.slice(0, 300)}`,
            );
          learn(made.learn, asked, answer);
        }
      }
      await Promise.all(Array.from({ length: clients }, client));
      expect(faults, `seed ${seed}; ${victim.output().slice(-1_000)}`).toEqual([]);
      expect(victim.exited()).toBeNull();
      // The requests meet what is there: the good ones among them do something.
      expect(statuses.get('2xx') ?? 0, JSON.stringify([...statuses])).toBeGreaterThan(requests * 0.15);
      expect(victim.residentMb(), `${warm} MB after seven tenths`).toBeLessThan(Math.max(450, warm * 1.3 + 30));
      process.stdout.write(
        `fuzz on ${database}: ${requests} requests, seed ${seed}, ${JSON.stringify(Object.fromEntries(statuses))}, ${Math.round(victim.residentMb())} MB resident\n`,
      );
    }, 1_200_000);
  },
);

/** Why an answer is none that a client can work with. */
function faultOf({ status, type, text }: Answered, { method, path }: FuzzRequest): string | null {
  if (status === 0) return 'no answer';
  // A server that somebody named cannot be reached, or is no program: that is what it says.
  const isOutside = status === 502 && path.startsWith('/v1/mcp-servers/') && text.includes('"code":"tool_failed"');
  if (status >= 500 && !isOutside) return 'failed inside';
  if (status < 400) return null;
  if (method === 'HEAD') return null;
  // Those who speak MCP read a refusal as an error of JSON-RPC.
  const isMcp = /^\/mcp(\?|$)/.test(path);
  if (type !== 'application/problem+json' && !(isMcp && type === 'application/json')) return 'no problem';
  if (text.length > 16_384) return `a refusal of ${text.length} characters`;
  const problem: unknown = JSON.parse(text);
  if (type === 'application/json') return isRpcError(problem) ? null : 'neither a problem nor an error of JSON-RPC';
  const isWhole = typeof problem === 'object' && problem !== null && 'code' in problem && 'status' in problem && problem.status === status;
  return isWhole ? null : 'a problem without a code, or of another status';
}

function isRpcError(body: unknown): boolean {
  if (typeof body !== 'object' || body === null || !('jsonrpc' in body) || body.jsonrpc !== '2.0' || !('error' in body)) return false;
  const { error } = body;
  return typeof error === 'object' && error !== null && 'code' in error && 'message' in error && typeof error.message === 'string';
}

function learn(learnId: (kind: string, id: unknown) => void, { path, method }: FuzzRequest, { status, text, type }: Answered): void {
  if (method !== 'POST' || status >= 300 || !type.includes('json')) return;
  const body = JSON.parse(text) as Record<string, unknown>; // all of them are objects
  if (/^\/v1\/sessions(\?|$)/.test(path)) learnId('session', body.id);
  if (/^\/v1\/runs/.test(path)) learnId('run', body.id);
  if (/^\/v1\/keys/.test(path)) learnId('key', body.id);
  if (/^\/v1\/agents(\?|$)/.test(path)) learnId('agent', body.name);
  learnId('sessionId', body.sessionId);
}

function ask(victim: Victim, agent: Agent, { method, path, headers, body }: FuzzRequest): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const bytes = body === undefined ? undefined : Buffer.from(body);
    const outgoing = send(
      {
        ...{ host: '127.0.0.1', port: victim.port, method, path, agent, timeout: longestAnswerMs },
        headers: { ...victim.authorization, ...headers, ...(bytes === undefined ? {} : { 'content-length': bytes.length }) },
      },
      (response) => {
        let text = '';
        const done = () => resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', text });
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', done);
        response.on('error', done);
        if (response.headers['content-type'] === 'text/event-stream') setTimeout(() => response.destroy(), longestStreamMs).unref();
        response.on('close', done);
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${longestAnswerMs} ms`)));
    outgoing.on('error', reject);
    outgoing.end(bytes);
  });
}
