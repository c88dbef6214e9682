/**
 * Load on tools: 100 users who call tools for 30 s, under the policy and budget of sessions of their own. It fails when one of twenty answers
 * takes half a second, or any call fails.
 *
 *   k6 run -e NEXUS_URL=http://127.0.0.1:8080 -e NEXUS_KEY=… bench/tool_execution_test.js
 *   node --conditions=nexus-source bench/k6.ts bench/tool_execution_test.js     # a server of its own; by k6 where it is installed
 *
 * NEXUS_TOOLS names the tools, separated by commas; each is called without arguments that matter.
 */
import { check, sleep } from 'k6';
import http from 'k6/http';

export const options = {
  vus: 100,
  duration: '30s',
  thresholds: {
    http_req_duration: ['p(95)<500'],
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
  },
};

const url = __ENV.NEXUS_URL || 'http://127.0.0.1:8080';
const tools = (__ENV.NEXUS_TOOLS || 'fs_list,code_js').split(',');
const inputs = { code_js: { code: '1 + 1' } };
const headers = { 'content-type': 'application/json' };
if (__ENV.NEXUS_KEY) headers.authorization = `Bearer ${__ENV.NEXUS_KEY}`;

/** A session for each user, made before the clock runs. */
export async function setup() {
  const sessions = [];
  for (let index = 0; index < options.vus; index += 1) {
    const body = JSON.stringify({ policy: { allow: tools }, metadata: { purpose: 'bench' } });
    const answer = await http.asyncRequest('POST', `${url}/v1/sessions`, body, { headers });
    if (answer.status !== 201) throw new Error(`no session was made: ${answer.status} ${answer.body}`);
    sessions.push(answer.json('id'));
  }
  return { sessions };
}

export default async function ({ sessions }) {
  const sessionId = sessions[Math.floor(Math.random() * sessions.length)];
  const tool = tools[Math.floor(Math.random() * tools.length)];
  const body = JSON.stringify({ sessionId, input: inputs[tool] || {} });
  const answer = await http.asyncRequest('POST', `${url}/v1/tools/${tool}/execute`, body, { headers });
  check(answer, {
    'is answered with 200': ({ status }) => status === 200,
    'the tool went well': (given) => given.json('status') === 'ok',
  });
  await sleep(0.5); // k6 blocks here, and its answer can be waited for all the same
}
