// A bare OpenAI-compatible upstream on loopback. It costs as little as possible and treats every client alike. Prints its
// port; ends when its standard input does.
//
//   node mock-upstream.mjs            two turns with two tool calls each, then an answer of 64 deltas
//   node mock-upstream.mjs live <ms>  an answer that begins at once and goes on for ever, one delta each <ms>
import { createServer } from 'node:http';

const everyMs = process.argv[2] === 'live' ? Number(process.argv[3]) : 0;
const chunk = (delta, finish = null, extra = {}) =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [{ index: 0, delta, finish_reason: finish }], ...extra })}\n\n`;
const usage = `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [], usage: { prompt_tokens: 200, completion_tokens: 64, total_tokens: 264 } })}\n\n`;

function toolTurn(turn) {
  const call = (index) =>
    chunk({
      tool_calls: [
        {
          index,
          id: `call_${turn}_${index}`,
          type: 'function',
          function: { name: 'lookup', arguments: JSON.stringify({ key: `k${turn}${index}` }) },
        },
      ],
    });
  return [chunk({ role: 'assistant', content: null }), call(0), call(1), chunk({}, 'tool_calls'), usage, 'data: [DONE]\n\n'];
}
const answer = [
  chunk({ role: 'assistant', content: '' }),
  ...Array.from({ length: 64 }, (_, index) => chunk({ content: `word${index} ` })),
  chunk({}, 'stop'),
  usage,
  'data: [DONE]\n\n',
];
const turns = [toolTurn(0), toolTurn(1), answer];

const live = new Set();
const word = chunk({ content: 'word ' });
// One timer for all streams, which are spread over its period.
if (everyMs > 0) {
  let slot = 0;
  setInterval(() => {
    slot = (slot + 1) % 10;
    let index = 0;
    for (const response of live) if (index++ % 10 === slot) response.write(word);
  }, everyMs / 10);
}

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (text) => {
    body += text;
  });
  request.on('end', async () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (everyMs > 0) {
      response.write(word);
      live.add(response);
      response.on('close', () => live.delete(response));
      return;
    }
    // One packet a delta, as a model sends them; a whole answer in one packet would measure something else.
    for (const part of turns[Math.min(body.split('"role":"assistant"').length - 1, 2)]) {
      response.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  });
});
server.keepAliveTimeout = 600_000;
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => process.stdout.write(`${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();
