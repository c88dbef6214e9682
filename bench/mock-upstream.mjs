// A bare OpenAI-compatible upstream on loopback. It costs as little as possible and treats every client alike. Prints its
// port; ends when its standard input does.
//
//   node mock-upstream.mjs            two turns with two tool calls each, then an answer of 64 deltas
//   node mock-upstream.mjs files      the same with tools that work: two files are written, then read
//   node mock-upstream.mjs steps <n>  so many turns with one tool call each, then the answer
//   node mock-upstream.mjs live <ms>  an answer that begins at once and goes on for ever, one delta each <ms>
//   node mock-upstream.mjs stamped <ms>  the same, all at once, and each delta says when it was sent: `@<µs of the monotonic clock> `
import { createServer } from 'node:http';

const stamped = process.argv[2] === 'stamped';
const everyMs = stamped || process.argv[2] === 'live' ? Number(process.argv[3]) : 0;
const chunk = (delta, finish = null, extra = {}) =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [{ index: 0, delta, finish_reason: finish }], ...extra })}\n\n`;
const usage = `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock', choices: [], usage: { prompt_tokens: 200, completion_tokens: 64, total_tokens: 264 } })}\n\n`;

function toolTurn(turn, calls) {
  const call = ([name, input], index) =>
    chunk({
      tool_calls: [{ index, id: `call_${turn}_${index}`, type: 'function', function: { name, arguments: JSON.stringify(input) } }],
    });
  return [chunk({ role: 'assistant', content: null }), ...calls.map(call), chunk({}, 'tool_calls'), usage, 'data: [DONE]\n\n'];
}
const lookup = (turn) =>
  toolTurn(
    turn,
    [0, 1].map((index) => ['lookup', { key: `k${turn}${index}` }]),
  );
const content = 'a line of a file\n'.repeat(120);
const fileTurns = [
  toolTurn(
    0,
    [0, 1].map((index) => ['fs_write', { path: `notes/${index}.txt`, content }]),
  ),
  toolTurn(
    1,
    [0, 1].map((index) => ['fs_read', { path: `notes/${index}.txt` }]),
  ),
];
const answer = [
  chunk({ role: 'assistant', content: '' }),
  ...Array.from({ length: 64 }, (_, index) => chunk({ content: `word${index} ` })),
  chunk({}, 'stop'),
  usage,
  'data: [DONE]\n\n',
];
const turns =
  process.argv[2] === 'files'
    ? [...fileTurns, answer]
    : process.argv[2] === 'steps'
      ? [...Array.from({ length: Number(process.argv[3]) }, (_, turn) => toolTurn(turn, [['lookup', { key: `k${turn}` }]])), answer]
      : [lookup(0), lookup(1), answer];

const live = new Set();
const word = chunk({ content: 'word ' });
if (stamped) {
  setInterval(() => {
    const delta = chunk({ content: `word @${process.hrtime.bigint() / 1000n} ` });
    for (const response of live) response.write(delta);
  }, everyMs);
} else if (everyMs > 0) {
  // One timer for all streams, which are spread over its period.
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
    const turn = turns[Math.min(body.split('"role":"assistant"').length - 1, turns.length - 1)];
    // What a server with a tokenizer would count, about.
    const counted = process.argv[2] === 'steps' ? `"prompt_tokens":${Math.ceil(body.length / 4)},` : null;
    // One packet a delta, as a model sends them; a whole answer in one packet would measure something else.
    for (const part of turn) {
      response.write(counted === null ? part : part.replace('"prompt_tokens":200,', counted));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  });
});
server.keepAliveTimeout = 600_000;
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => process.stdout.write(`${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();
