/*
 * An MCP server over its standard input and output, a message on each line: counts with days of the calendar. It needs nothing but Node,
 * and runs in a jail: no network, no files but its own.
 */
const dayMs = 86_400_000;

function dayOf(text) {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== text)
    throw new Error(`${JSON.stringify(text)} is no day; give one such as 2026-02-28`);
  return time;
}

const isWorkday = (time) => new Date(time).getUTCDay() % 6 !== 0;
const day = { type: 'string', description: 'Such as 2026-02-28' };

const tools = [
  {
    name: 'days_between',
    description: 'Counts the days and the workdays (Monday to Friday) from one day up to another, without the last one.',
    inputSchema: { type: 'object', properties: { from: day, to: day }, required: ['from', 'to'], additionalProperties: false },
    run({ from, to }) {
      const [first, last] = [dayOf(from), dayOf(to)];
      const days = (last - first) / dayMs;
      if (days < 0) throw new Error('to lies before from');
      if (days > 100_000) throw new Error('at most 100000 days are counted');
      let workdays = 0;
      for (let time = first; time < last; time += dayMs) if (isWorkday(time)) workdays += 1;
      return { days, workdays };
    },
  },
  {
    name: 'add_workdays',
    description: 'Gives the day that lies so many workdays (Monday to Friday) after another one.',
    inputSchema: {
      type: 'object',
      properties: { from: day, workdays: { type: 'integer', minimum: 0, maximum: 10000 } },
      required: ['from', 'workdays'],
      additionalProperties: false,
    },
    run({ from, workdays }) {
      let time = dayOf(from);
      for (let left = workdays; left > 0; ) {
        time += dayMs;
        if (isWorkday(time)) left -= 1;
      }
      return { day: new Date(time).toISOString().slice(0, 10) };
    },
  },
];

const say = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);

function answer({ method, params = {} }) {
  switch (method) {
    case 'initialize':
      return {
        result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'dates-mcp', version: '1.0.0' } },
      };
    case 'ping':
      return { result: {} };
    case 'tools/list':
      return { result: { tools: tools.map(({ run: _run, ...tool }) => tool) } };
    case 'tools/call': {
      const tool = tools.find(({ name }) => name === params.name);
      if (tool === undefined) return { error: { code: -32602, message: 'there is no such tool' } };
      try {
        return { result: { content: [{ type: 'text', text: JSON.stringify(tool.run(params.arguments ?? {})) }] } };
      } catch (error) {
        return { result: { isError: true, content: [{ type: 'text', text: String(error.message) }] } };
      }
    }
    default:
      return { error: { code: -32601, message: 'no such method' } };
  }
}

require('node:readline')
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message = JSON.parse(line);
    if (message.id !== undefined) say({ id: message.id, ...answer(message) });
  });
