/** What of the modules `k6` and `k6/http` our load scripts use. Requests are those with a promise: everything runs in one thread. */
import { Agent, request } from 'undici';
import { createSamples } from './metrics.ts';

export const samples = createSamples();
let agent: Agent | undefined;
/** Until the users begin nothing is counted. */
let counting = false;

/** One connection for each user at most. */
export function begin(vus: number): void {
  agent = new Agent({ connections: vus, pipelining: 1 });
}

export function count(on: boolean): void {
  counting = on;
}

export async function end(): Promise<void> {
  await agent?.destroy();
}

interface Answer {
  readonly status: number;
  readonly body: string;
  json(selector?: string): unknown;
}

async function asyncRequest(
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  body: string | null = null,
  { headers = {} }: { readonly headers?: Record<string, string> } = {},
): Promise<Answer> {
  const counted = counting;
  const startedAt = performance.now();
  let answer: { readonly status: number; readonly body: string };
  try {
    const given = await request(url, { method, body, headers, ...(agent === undefined ? {} : { dispatcher: agent }) });
    answer = { status: given.statusCode, body: await given.body.text() };
  } catch (error) {
    answer = { status: 0, body: String(error) }; // as k6 has it: the check of the script fails, and the script goes on
  }
  if (counted) {
    samples.http_req_duration.values.push(performance.now() - startedAt);
    samples.http_reqs.values.push(1);
    samples.http_req_failed.values.push(answer.status >= 200 && answer.status < 400 ? 0 : 1);
  }
  return {
    ...answer,
    json(selector) {
      try {
        const value: unknown = JSON.parse(answer.body);
        return selector === undefined ? value : (value as Record<string, unknown> | null)?.[selector];
      } catch {
        return undefined;
      }
    },
  };
}

export const http = { asyncRequest };

export function check(value: unknown, checks: Readonly<Record<string, (value: unknown) => unknown>>): boolean {
  const results = Object.values(checks).map((holds) => Boolean(holds(value)));
  if (counting) for (const holds of results) samples.checks.values.push(holds ? 1 : 0);
  return results.every(Boolean);
}

export function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
}
