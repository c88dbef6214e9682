import { type Answer, call, delta, end } from './strict-provider.ts';

/* Answers as broken providers, and those that mean harm, have sent them. */

type Reply = Extract<Answer, (...given: never[]) => void>;
const raw =
  (status: number, type: string, body: string, headers: Readonly<Record<string, string>> = {}): Reply =>
  (response) =>
    void response.writeHead(status, { 'content-type': type, ...headers }).end(body);
export const json = (status: number, body: unknown, headers?: Readonly<Record<string, string>>) =>
  raw(status, 'application/json', JSON.stringify(body), headers);
const line =
  (text: string): Reply =>
  (response) =>
    void response.socket?.end(text);
export const writing = (path: string, content = 'x') => JSON.stringify({ path, content });

/** Answers after which a session must go on. */
export const oddAnswers: Readonly<Record<string, Answer>> = {
  'args-cut': [call('a', 'fs_write', '{"path": "a.txt", "content": "b'), end('tool_calls')],
  'args-list': [call('a', 'fs_write', '[1,2]'), end('tool_calls')],
  'args-text': [call('a', 'fs_write', '"text"'), end('tool_calls')],
  'args-number': [call('a', 'fs_write', '5'), end('tool_calls')],
  'args-empty': [call('a', 'fs_list', ''), end('tool_calls')],
  'args-object': [call('a', 'fs_write', { path: 'o.txt', content: 'x' }), end('tool_calls')],
  'args-null-members': [call('a', 'fs_write', '{"path":null,"content":null}'), end('tool_calls')],
  'args-proto': [call('a', 'fs_write', '{"__proto__":{"path":"p.txt"},"constructor":{"prototype":{"x":1}}}'), end('tool_calls')],
  'args-cedar': [
    call('a', 'fs_write', '{"path":{"__entity":{"type":"User","id":"x"}},"content":{"__extn":{"fn":"ip","arg":"x"}}}'),
    end('tool_calls'),
  ],
  'args-nul': [call('a', 'fs_write', writing('n\u0000.txt')), end('tool_calls')],
  'args-half': [call('a', 'fs_write', '{"path":"h.txt","content":"\\ud83d"}'), end('tool_calls')],
  'args-deep': [call('a', 'fs_write', `{"path":${'['.repeat(255)}${']'.repeat(255)}}`), end('tool_calls')],
  'ids-same': [call('same', 'fs_write', writing('1.txt')), call('same', 'fs_write', writing('2.txt'), 1), end('tool_calls')],
  'ids-none': [call('', 'fs_write', writing('3.txt')), call(null, 'fs_write', writing('4.txt'), 1), end('tool_calls')],
  'ids-number': [call(7, 'fs_write', writing('5.txt')), end('tool_calls')],
  'ids-nul': [call('i\u0000\ud800', 'fs_write', writing('6.txt')), end('tool_calls')],
  'name-unknown': [call('a', 'no_such_tool', '{}'), end('tool_calls')],
  'name-inherited': [call('a', '__proto__', '{}'), call('b', 'constructor', '{}', 1), call('c', 'toString', '{}', 2), end('tool_calls')],
  'name-odd': [call('a', 'fs write/é\u0000', '{}'), call('b', '工具', '{}', 1), end('tool_calls')],
  'name-none': [call('a', '', '{}'), end('tool_calls')],
  'text-half': [delta({ content: 'a \ud83d' }), delta({ content: ' b \ude00' }), end()],
  'text-nul': [delta({ content: 'a \u0000 b' }), end()],
  'text-blank': [delta({ content: ' \u200b\n' }), end()],
  'choices-null': [{ choices: null, usage: null }, delta({ content: 'hi' }), { choices: [], usage: null }, end()],
  'delta-null': [{ choices: [{ index: 0, delta: null, finish_reason: null }] }, delta({ content: 'hi' }), end()],
  'null-event': [null, delta({ content: 'hi' }), end()],
  'odd-events': [5, 'text', [], true, delta({ content: 'hi' }), end()],
  'error-within': [delta({ content: 'so far' }), { error: { message: 'overloaded', code: 502 } }],
  'error-alone': [{ id: 'r', choices: [], error: { message: 'Worker limit reached', code: 502 } }],
  'error-json': json(200, { error: { message: 'quota exceeded', type: 'insufficient_quota' } }),
  'error-null': json(500, null),
  'error-list': json(400, [null, 1]),
  'error-number': json(429, 5),
  'only-done': [],
  'only-comments': raw(200, 'text/event-stream', ': ping\n\n'.repeat(50)),
  'type-html': raw(200, 'text/html', '<html>log in</html>'),
  'type-none': raw(200, '', `data: ${JSON.stringify(delta({ content: 'hi' }))}\n\n`),
  'status-204': (response) => void response.writeHead(204).end(),
  'usage-negative': [delta({ content: 'hi' }), end('stop', { usage: { prompt_tokens: -50, completion_tokens: -9e15, total_tokens: -1 } })],
  'usage-huge': [
    delta({ content: 'hi' }),
    '{"choices":[],"usage":{"prompt_tokens":1e999,"completion_tokens":1e300,"total_tokens":1e999}}',
    end(),
  ],
  'usage-text': [delta({ content: 'hi' }), end('stop', { usage: { prompt_tokens: '12', completion_tokens: [], total_tokens: {} } })],
  'usage-odd': [delta({ content: 'hi' }), end('stop', { usage: [1, 2] })],
  'retry-negative': json(429, { error: { message: 'slow down' } }, { 'retry-after': '-1' }),
  'retry-infinite': json(429, { error: { message: 'slow down' } }, { 'retry-after': 'inf' }),
  'retry-digits': json(429, { error: { message: 'slow down' } }, { 'retry-after': '9'.repeat(400) }),
  'retry-years': json(503, { error: { message: 'slow down' } }, { 'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT' }),
  reset: (response) => void response.socket?.resetAndDestroy(),
  'line-099': line('HTTP/1.1 099 Odd\r\n\r\n'),
  'line-000': line('HTTP/1.1 000 Odd\r\ncontent-length: 2\r\n\r\nhi'),
  'line-999': line('HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\nhi'),
  'line-101': line('HTTP/1.1 101 Switching Protocols\r\nupgrade: odd\r\nconnection: upgrade\r\n\r\nhi'),
  'line-100': line('HTTP/1.1 100 Continue\r\n\r\n'),
  'line-junk': line('\u0000\u0001\u0002 junk'),
  'line-old': line('just text'),
  'line-lengths': line('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\nhi'),
  'line-negative': line('HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi'),
  'line-both': line('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'),
  'line-chunk': line('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n'),
  'line-more': line('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
  'line-odd-header': line('HTTP/1.1 200 OK\r\n\u0000bad: x\r\n: y\r\nx\r\n\r\n'),
};
