// The least that any agent server must do: node:http, undici, JSON.parse of every delta, one SSE write per delta. No journal, no budget, no policy.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Pool } from 'undici';

const pool = new Pool(process.argv[2], { connections: 128 });
const tools = [
  {
    type: 'function',
    function: {
      name: 'lookup',
      description: 'Looks a key up',
      parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
    },
  },
];

const folder = mkdtempSync(join(tmpdir(), 'nexus-bench-floor-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
let runs = 0;
/** What the tools of the benchmark do, done at once and without a check. */
function useTool(run, { name, arguments: given }) {
  const { key, path, content } = JSON.parse(given);
  if (name === 'lookup') return `value of ${key}`;
  const file = join(folder, String(run % 100), path);
  if (name === 'fs_read') return readFileSync(file, 'utf8');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  return 'written';
}

async function turn(messages, onText) {
  const { body } = await pool.request({
    path: '/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'mock', messages, tools, stream: true }),
  });
  const calls = [];
  let text = '';
  let rest = '';
  body.setEncoding('utf8');
  for await (const piece of body) {
    rest += piece;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const line = rest.slice(6, end);
      rest = rest.slice(end + 2);
      if (line === '[DONE]') continue;
      const delta = JSON.parse(line).choices[0]?.delta;
      if (delta?.content) {
        text += delta.content;
        onText(delta.content);
      }
      for (const call of delta?.tool_calls ?? []) calls.push(call);
    }
  }
  return { text, calls };
}

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', (piece) => {
    body += piece;
  });
  request.on('end', async () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const messages = [{ role: 'user', content: JSON.parse(body).input }];
    const run = runs++;
    for (;;) {
      const { text, calls } = await turn(messages, (delta) => response.write(`data: ${JSON.stringify({ delta })}\n\n`));
      messages.push({ role: 'assistant', content: text, tool_calls: calls });
      if (calls.length === 0) break;
      const results = calls.map((call) => useTool(run, call.function));
      messages.push(...results.map((content, index) => ({ role: 'tool', tool_call_id: calls[index].id, content })));
    }
    response.end('event: run.completed\ndata: {}\n\n');
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`http://127.0.0.1:${server.address().port}\n`));
process.once('SIGTERM', () => process.exit(0));
