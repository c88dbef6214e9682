// Readers of event streams, as cheap as they can be: plain sockets, nothing is parsed but when a delta was sent (`@<µs> `, written
// by mock-upstream.mjs). Each line of standard input is a command, and is answered with a line; ends when its standard input does.
//
//   {"open":1000,"url":"http://127.0.0.1:1","path":"/","body":"{}"}  so many more; answered once each has the head of its answer
//   {"measure":5000}                                                 counts for so many ms
//   {"close":true}                                                   leaves all
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const sockets = new Set();
let counting = false;
let deltas = 0;
let bytes = 0;
let lags = [];

function onData(data) {
  if (!counting) return;
  const now = Number(process.hrtime.bigint() / 1000n);
  bytes += data.length;
  const text = data.latin1Slice();
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    deltas += 1;
    lags.push((now - Number.parseInt(text.slice(at + 1, at + 18), 10)) / 1000);
  }
}

function open({ url, path, body }) {
  const { host, hostname, port } = new URL(url);
  const head = `${body === undefined ? 'GET' : 'POST'} ${path} HTTP/1.1\r\nhost: ${host}\r\naccept: text/event-stream\r\n`;
  const rest = body === undefined ? '\r\n' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    sockets.add(socket);
    socket.once('error', reject);
    socket.once('data', (data) => {
      if (!data.latin1Slice(0, 12).endsWith(' 200')) reject(new Error(`a reader was answered ${data.latin1Slice(0, 300)}`));
      socket.on('error', () => undefined).on('data', onData);
      resolve();
    });
    socket.once('close', () => {
      if (sockets.delete(socket)) process.stderr.write('a reader was cut off\n');
    });
    socket.write(head + rest);
  });
}

async function obey(command) {
  if (command.open !== undefined) {
    let left = command.open;
    const lane = async () => {
      while (left-- > 0) await open(command);
    };
    await Promise.all(Array.from({ length: 50 }, lane));
    return { open: sockets.size };
  }
  if (command.measure !== undefined) {
    [deltas, bytes, lags, counting] = [0, 0, [], true];
    await new Promise((resolve) => setTimeout(resolve, command.measure));
    counting = false;
    lags.sort((a, b) => a - b);
    const at = (share) => lags[Math.min(lags.length - 1, Math.floor(lags.length * share))] ?? null;
    return { deltas, bytes, p50: at(0.5), p99: at(0.99) };
  }
  for (const socket of sockets) {
    sockets.delete(socket);
    socket.destroy();
  }
  return { open: 0 };
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line)))}\n`);
process.exit(0);
