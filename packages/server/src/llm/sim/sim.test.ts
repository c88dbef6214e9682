import { runInNewContext } from 'node:vm';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InboundRequest, InboundTool, InboundTurn } from '#llm/dialects';
import { parseDirectives } from './directives.ts';
import { calmKnobs, readKnobs, splitModel } from './knobs.ts';
import { limitAnswer, planAnswer } from './planner.ts';
import { keyHeader, type Simulator, startSimulator } from './server.ts';
import { tokenPieces } from './text.ts';

const text = (properties: Record<string, unknown>, required: string[] = []) => ({ type: 'object', properties, required });
const tools: InboundTool[] = [
  { name: 'fs_list', schema: text({ path: { type: 'string' }, recursive: { type: 'boolean' } }) },
  { name: 'fs_read', schema: text({ path: { type: 'string' } }, ['path']) },
  { name: 'fs_write', schema: text({ path: { type: 'string' }, content: { type: 'string' } }, ['path', 'content']) },
  { name: 'fs_search', schema: text({ query: { type: 'string' } }, ['query']) },
  { name: 'code_js', schema: text({ code: { type: 'string' }, files: { type: 'array' } }, ['code']) },
  { name: 'http_fetch', schema: text({ url: { type: 'string' } }, ['url']) },
  { name: 'ask_human', schema: text({ question: { type: 'string' } }, ['question']) },
  { name: 'agent_helper', schema: text({ task: { type: 'string' } }, ['task']) },
];

function makeSimRequest(turns: readonly InboundTurn[], changes: Partial<InboundRequest> = {}): InboundRequest {
  return {
    model: 'sim-large',
    system: '',
    turns,
    tools,
    outputSchema: null,
    maxTokens: 1_000,
    stream: false,
    includeUsage: true,
    inputTexts: [],
    ...changes,
  };
}

/** Plays a task to its end with tools that answer from `outputs`; gives the calls of each turn and the final text. */
function play(task: string, execute: (name: string, input: Record<string, unknown>) => string): { calls: string[][]; answer: string } {
  const turns: InboundTurn[] = [{ role: 'user', text: task, images: 0 }];
  const calls: string[][] = [];
  for (let turn = 0; turn < 10; turn++) {
    const said = planAnswer(makeSimRequest(turns));
    if (said.calls.length === 0) return { calls, answer: said.text };
    const made = said.calls.map((call, index) => ({
      id: `${turn}-${index}`,
      name: call.name,
      input: JSON.parse(call.arguments) as Record<string, unknown>,
    })); // the planner wrote it
    calls.push(made.map((call) => (call.name === 'code_js' ? 'code_js' : `${call.name} ${JSON.stringify(call.input)}`)));
    turns.push({ role: 'assistant', text: said.text, calls: made });
    turns.push({ role: 'tool', results: made.map((call) => ({ id: call.id, output: execute(call.name, call.input), isError: false })) });
  }
  throw new Error('the simulator never answers');
}

const files: Record<string, string> = {
  'data/cities.csv': 'city,population,area\n"Bern, capital",134794,51.6\nZürich,443037,87.9\nGenf,209061,15.9\n',
  'notes.md': '# Notes\nSwiss cities',
};

function workspace(name: string, input: Record<string, unknown>): string {
  if (name === 'fs_list')
    return Object.entries(files)
      .map(([path, body]) => `${path}\t${body.length}`)
      .join('\n');
  if (name === 'fs_read') return files[String(input.path)] ?? 'no such file';
  if (name === 'code_js') {
    const named = Array.isArray(input.files) ? input.files.map((path) => [path, files[String(path)]]) : [];
    return JSON.stringify({ value: runInNewContext(String(input.code), { files: Object.fromEntries(named) }) });
  }
  return 'fine';
}

describe('the planner', () => {
  it('lists, reads in parallel, computes over the table and answers with the figures that the tools gave', () => {
    const { calls, answer } = play('What is the total population of the cities in the data files, and which is the largest?', workspace);
    expect(calls).toEqual([['fs_list {"recursive":true}'], ['fs_read {"path":"data/cities.csv"}'], ['code_js']]);
    expect(answer).toContain('sum 786892');
    expect(answer).toContain('443037 (Zürich)');
    expect(answer).not.toContain('area');
  });

  it('takes its figures from the results, not from the task', () => {
    const changed = (name: string, input: Record<string, unknown>) => workspace(name, input).replaceAll('786892', '7');
    expect(play('sum the column population of data/cities.csv', changed).answer).toContain('sum 7,');
  });

  it('puts the table into the program for a tool that cannot pass files', () => {
    const plain = tools.map((tool) => (tool.name === 'code_js' ? { ...tool, schema: text({ code: { type: 'string' } }, ['code']) } : tool));
    const turns: InboundTurn[] = [
      { role: 'user', text: 'sum the column population of data/cities.csv', images: 0 },
      { role: 'assistant', text: '', calls: [{ id: 'a', name: 'fs_read', input: { path: 'data/cities.csv' } }] },
      { role: 'tool', results: [{ id: 'a', output: files['data/cities.csv'] ?? '', isError: false }] },
    ];
    const program: unknown = JSON.parse(planAnswer(makeSimRequest(turns, { tools: plain })).calls[0]?.arguments ?? '');
    expect(JSON.stringify(runInNewContext((program as { code: string }).code))).toContain('"sum":786892'); // the planner wrote it
  });

  it.each([
    ['read notes.md and data/cities.csv', [['fs_read {"path":"notes.md"}', 'fs_read {"path":"data/cities.csv"}']]],
    ['list the files', [['fs_list {"recursive":true}']]],
    ['search for "Swiss" in the files', [['fs_search {"query":"Swiss"}']]],
    ['write "hello" to out.txt', [['fs_write {"path":"out.txt","content":"hello\\n"}']]],
    ['fetch https://example.com/a?b=1.', [['http_fetch {"url":"https://example.com/a?b=1"}']]],
    ['ask me whether to go on', [['ask_human {"question":"Whether to go on?"}']]],
    ['let agent_helper do it', [['agent_helper {"task":"let agent_helper do it"}']]],
    [
      'average area in data/cities.csv, and write it to report.md',
      [
        ['fs_read {"path":"data/cities.csv"}'],
        ['code_js'],
        expect.arrayContaining([expect.stringContaining('fs_write {"path":"report.md"')]),
      ],
    ],
    [
      'compare notes.md with the data set: how many rows has the table?',
      [['fs_list {"recursive":true}'], ['fs_read {"path":"notes.md"}', 'fs_read {"path":"data/cities.csv"}'], ['code_js']],
    ],
    ['hello', []],
    ['tell me a joke', []],
  ])('plans "%s"', (task, plan) => {
    expect(play(task, workspace).calls).toEqual(plan);
  });

  it('uses only tools that are offered', () => {
    const turns: InboundTurn[] = [{ role: 'user', text: 'read notes.md and sum the data', images: 0 }];
    expect(planAnswer(makeSimRequest(turns, { tools: [] }))).toMatchObject({ calls: [], finish: 'stop' });
  });

  it('tells of a tool that failed, and does not try it again', () => {
    const turns: InboundTurn[] = [
      { role: 'user', text: 'read gone.txt', images: 0 },
      { role: 'assistant', text: '', calls: [{ id: 'a', name: 'fs_read', input: { path: 'gone.txt' } }] },
      { role: 'tool', results: [{ id: 'a', output: 'there is no file gone.txt', isError: true }] },
    ];
    expect(planAnswer(makeSimRequest(turns)).text).toContain('there is no file gone.txt');
  });

  it('answers in JSON that fits the schema that is asked for', () => {
    const outputSchema = {
      type: 'object',
      properties: {
        title: { type: 'string', minLength: 3, maxLength: 40 },
        kind: { enum: ['short', 'long'] },
        total: { type: 'integer', minimum: 1 },
        tags: { type: 'array', items: { type: 'string' }, minItems: 2 },
        nested: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
      },
      required: ['title', 'kind', 'total', 'tags', 'nested'],
    };
    const said = planAnswer(makeSimRequest([{ role: 'user', text: 'hi, we are 12', images: 0 }], { outputSchema }));
    const validate = new Ajv2020().compile(outputSchema);
    expect(validate(JSON.parse(said.text)) || validate.errors).toBe(true);
  });

  it('summarises a conversation rather than act on what it quotes', () => {
    const turns: InboundTurn[] = [{ role: 'user', text: 'User: [[sim tools=fs_read(path="a")]]', images: 0 }];
    const said = planAnswer(makeSimRequest(turns, { tools: [], system: 'You compress conversations between a user and an assistant.' }));
    expect(said).toMatchObject({ calls: [], text: expect.stringContaining('Summary') });
  });

  it('stops at the token limit and says so', () => {
    expect(limitAnswer({ thinking: 'a b', text: 'c d e', calls: [{ name: 'x', arguments: '{}' }], finish: 'tool_calls' }, 3)).toEqual({
      thinking: 'a b',
      text: 'c',
      calls: [],
      finish: 'length',
    });
    const call = { name: 'code_js', arguments: '{"code":"return 1 + 2 + 3"}' };
    const cut = limitAnswer({ thinking: '', text: '', calls: [call, call], finish: 'tool_calls' }, 8);
    expect(cut).toEqual({ thinking: '', text: '', calls: [{ name: 'code_js', arguments: '{"code":"return 1 +' }], finish: 'length' });
  });
});

describe('directives', () => {
  it('script the turns that follow, one after the other [verifies provider.script]', () => {
    const user: InboundTurn = {
      role: 'user',
      text: 'do\n[[sim tools=a(x=1,y=["]]"]),b!("{oops")]]\n[[sim think="hm" say="got {{result}}" finish=length]]',
      images: 0,
    };
    const first = planAnswer(makeSimRequest([user]));
    expect(first.calls).toEqual([
      { name: 'a', arguments: '{"x":1,"y":["]]"]}' },
      { name: 'b', arguments: '{oops' },
    ]);
    const turns: InboundTurn[] = [
      user,
      { role: 'assistant', text: '', calls: [{ id: '1', name: 'a', input: {} }] },
      { role: 'tool', results: [{ id: '1', output: 'seven', isError: false }] },
    ];
    expect(planAnswer(makeSimRequest(turns))).toEqual({ thinking: 'hm', text: 'got seven', calls: [], finish: 'length' });
    expect(planAnswer(makeSimRequest([...turns, { role: 'assistant', text: 'x', calls: [] }])).text).toBe('Done.');
  });

  it('give a text of exactly so many tokens', () => {
    const said = planAnswer(makeSimRequest([{ role: 'user', text: '[[sim say="one two" tokens=5]]', images: 0 }]));
    expect(said.text).toBe('one two one two one');
  });

  it('may hold directives for a sub-agent in a string', () => {
    const [outer] = parseDirectives('[[sim tools=agent_helper(task="[[sim say=\\"inner\\"]]")]] [[sim say="outer"]]');
    expect(JSON.parse(outer?.tools[0]?.arguments ?? '')).toEqual({ task: '[[sim say="inner"]]' });
  });

  it('say what is wrong with them [verifies provider.script]', () => {
    expect(parseDirectives('[[sim sya="x"]]')[0]?.say).toContain('unknown key sya');
    expect(parseDirectives('[[sim say=')[0]?.say).toContain('cannot be read');
  });
});

describe('knobs', () => {
  it('are read from a model name, and a typing error is refused', () => {
    expect(splitModel('sim-large?cut=3&noUsage=1')).toEqual({ name: 'sim-large', knobs: { cut: 3, noUsage: true } });
    expect(() => splitModel('sim-large?cutt=3')).toThrow('no knob cutt');
    expect(() => splitModel('sim-large?cut=many')).toThrow('needs a number');
    expect(Object.keys(readKnobs([['latency-ms', '5']]))).toEqual(['latencyMs']);
    expect(Object.keys(calmKnobs)).toContain('latencyMs');
  });
});

describe('the simulator over HTTP', () => {
  let simulator: Simulator;
  beforeAll(async () => {
    simulator = await startSimulator();
  });
  afterAll(() => simulator.close());

  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${simulator.url}${path}`, { method: 'POST', body: JSON.stringify(body), headers });
  const hello = { model: 'sim-large', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] };

  it('says that it is one, in both formats and without a stream too', async () => {
    const chat = await post('/v1/chat/completions', hello);
    expect(chat.headers.get('x-nexus-simulator')).toBe('1');
    expect(await chat.json()).toMatchObject({
      object: 'chat.completion',
      model: 'sim-large',
      system_fingerprint: 'nexus-simulator',
      choices: [{ message: { role: 'assistant', content: expect.stringContaining('simulator') }, finish_reason: 'stop' }],
      usage: { prompt_tokens: expect.any(Number) },
    });
    const message = await post('/v1/messages', hello);
    expect(message.headers.get('x-nexus-simulator')).toBe('1');
    expect(await message.json()).toMatchObject({ type: 'message', content: [{ type: 'text' }], stop_reason: 'end_turn' });
    const models = await (await fetch(`${simulator.url}/v1/models`)).json();
    expect(models).toMatchObject({ object: 'list', data: expect.arrayContaining([expect.objectContaining({ id: 'sim-large' })]) });
  });

  it('gives the same bytes for the same request', async () => {
    const stream = async () =>
      (await (await post('/v1/chat/completions', { ...hello, stream: true })).text()).replace(/"created":\d+/g, '');
    expect(await stream()).toBe(await stream());
  });

  it('refuses what a provider would refuse', async () => {
    expect((await post('/v1/chat/completions', { model: 'gpt-4o', messages: hello.messages })).status).toBe(404);
    expect((await post('/v1/chat/completions', { model: 'sim-large', messages: [] })).status).toBe(400);
    expect((await post('/v1/messages', { model: 'sim-large', messages: hello.messages })).status).toBe(400);
    const unanswered = [
      ...hello.messages,
      { role: 'assistant', content: [{ type: 'tool_use', id: 'x', name: 'f', input: {} }] },
      ...hello.messages,
    ];
    expect((await post('/v1/messages', { ...hello, messages: unanswered })).status).toBe(400);
    expect((await post('/v1/chat/completions', { ...hello, model: 'sim-large?cutt=1' })).status).toBe(400);
    expect((await fetch(`${simulator.url}/v1/nothing`)).status).toBe(404);
  });

  it('takes knobs from headers, and throws the same dice for the same seed', async () => {
    expect((await post('/v1/chat/completions', hello, { 'x-sim-status': '503' })).status).toBe(503);
    const statuses = async (seed: number) => {
      const other = await startSimulator({ seed });
      const results: number[] = [];
      for (let index = 0; index < 20; index++) {
        const headers = { 'x-sim-errorrate': '0.5', 'idempotency-key': `k${index}` };
        const response = await fetch(`${other.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(hello), headers });
        await response.text();
        results.push(response.status);
      }
      await other.close();
      return results;
    };
    const first = await statuses(7);
    expect(new Set(first)).toEqual(new Set([200, 503]));
    expect(await statuses(7)).toEqual(first);
    expect(await statuses(8)).not.toEqual(first);
  });
});

describe('what means it harm', () => {
  const ask = (text: string, changes: Partial<InboundRequest> = {}) =>
    planAnswer(makeSimRequest([{ role: 'user', text, images: 0 }], changes));
  const lists = (depth: number): Record<string, unknown> =>
    depth === 0 ? { type: 'string' } : { type: 'array', minItems: 50, items: lists(depth - 1) };

  it.each<[string, () => unknown]>([
    ['words that ask for a search', () => ask(`${'find '.repeat(20_000)}${'for x '.repeat(100_000)}"" z`)],
    ['words that ask for a file', () => ask('write '.repeat(150_000))],
    ['words that ask for a list', () => ask('list '.repeat(200_000))],
    ['signs behind an address', () => ask(`http://x${'.'.repeat(900_000)}a`)],
    ['directives that do not end', () => parseDirectives('[[sim say={'.repeat(8_000))],
    [
      'results without number',
      () => {
        const call = { id: '1', name: 'fs_read', input: {} };
        const turns: InboundTurn[] = [
          { role: 'user', text: `[[sim tools=fs_read()]] [[sim say="${'{{result}}'.repeat(20_000)}"]]`, images: 0 },
          { role: 'assistant', text: '', calls: [call] },
          { role: 'tool', results: [{ id: '1', output: 'r'.repeat(50_000), isError: false }] },
        ];
        return planAnswer(makeSimRequest(turns));
      },
    ],
    ['a token of half a million blanks, ten thousand times', () => ask(`[[sim say="a${' '.repeat(500_000)}b" tokens=100000]]`)],
    ['blanks that nothing follows', () => tokenPieces(`a${' '.repeat(1_000_000)}`)],
    ['instructions that seem to ask for a summary', () => ask('hi', { tools: [], system: 'compress '.repeat(11_000) })],
    ['a schema of lists of lists', () => ask('hi', { tools: [], outputSchema: lists(8) })],
    [
      'a schema that states much, often',
      () =>
        ask('hi', {
          tools: [],
          outputSchema: { type: 'array', minItems: 50, items: { type: 'array', minItems: 50, items: { const: 'x'.repeat(500_000) } } },
        }),
    ],
  ])('takes no time: %s', (_, attack) => {
    const startedAt = process.cpuUsage().user;
    expect(JSON.stringify(attack()).length).toBeLessThan(25_000_000);
    expect((process.cpuUsage().user - startedAt) / 1_000).toBeLessThan(400);
  });

  it('a page of nothing but the beginning of tags takes no time', () => {
    const call = { id: '1', name: 'http_fetch', input: { url: 'http://x/' } };
    const turns: InboundTurn[] = [
      { role: 'user', text: 'read http://x/', images: 0 },
      { role: 'assistant', text: '', calls: [call] },
      { role: 'tool', results: [{ id: '1', output: '<'.repeat(50_000), isError: false }] },
    ];
    const startedAt = process.cpuUsage().user;
    expect(planAnswer(makeSimRequest(turns)).text).toContain('The page says');
    expect((process.cpuUsage().user - startedAt) / 1_000).toBeLessThan(400);
  });

  it('is answered when no answer can be made of it', async () => {
    const simulator = await startSimulator();
    const messages = [
      { role: 'user', content: 'read a.txt' },
      { role: 'assistant', content: null, tool_calls: [{ id: '1', type: 'function', function: { name: 'fs_read', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: '1', content: 'error: {"error":{"message":"\n"}}' },
    ];
    const response = await fetch(`${simulator.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model: 'sim-large', messages }),
    });
    expect(response.status).toBe(500);
    await simulator.close();
  });

  it('is not answered without the key of the server that started it', async () => {
    const simulator = await startSimulator({ key: 'secret-of-this-start' });
    const ask = (headers: Record<string, string>) => fetch(`${simulator.url}/v1/models`, { headers }).then(({ status }) => status);
    expect(await ask({})).toBe(401);
    expect(await ask({ [keyHeader]: 'secret-of-this-stars' })).toBe(401);
    expect(await ask({ [keyHeader]: 'secret-of-this-start' })).toBe(200);
    await simulator.close();
  });
});
