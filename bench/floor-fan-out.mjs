// The least that a server must do for many readers of one stream: it is read and parsed once, each delta is encoded once and written
// to every reader by node:http. No journal, no place to resume at, nothing for a reader that is slow. Prints its address.
import { createServer } from 'node:http';
import { request } from 'undici';

const readers = new Set();
const server = createServer((_, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  readers.add(response);
  response.on('close', () => readers.delete(response)).on('error', () => undefined);
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => process.stdout.write(`http://127.0.0.1:${server.address().port}\n`));
process.once('SIGTERM', () => process.exit(0));

const { body } = await request(`${process.argv[2]}/v1/chat/completions`, { method: 'POST', body: '{}', bodyTimeout: 0 });
body.setEncoding('utf8');
let rest = '';
for await (const piece of body) {
  rest += piece;
  for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
    const text = JSON.parse(rest.slice(6, end)).choices[0]?.delta.content;
    rest = rest.slice(end + 2);
    const frame = `data: ${JSON.stringify({ delta: text })}\n\n`;
    for (const reader of readers) reader.write(frame);
  }
}
