// An MCP server over standard input and output, of the revision 2025-11-25, that asks in the midst of a call: `book` has a person fill in a
// form before it books a table, and `name_it` asks for the word of a model. It needs nothing but Node.
import { createInterface } from 'node:readline';

const tools = [
  {
    name: 'book',
    description: 'Books a table. Whoever is asked says for how many, and when.',
    inputSchema: { type: 'object', properties: { restaurant: { type: 'string' } }, required: ['restaurant'] },
  },
  {
    name: 'name_it',
    description: 'Gives a thing a name.',
    inputSchema: { type: 'object', properties: { thing: { type: 'string' } }, required: ['thing'] },
  },
];

let count = 0;
const waiting = new Map();
const say = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);

/** Asks the client, and waits for its answer: however long a person takes. */
function ask(method, params) {
  const id = `ask-${++count}`;
  say({ id, method, params });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

async function book({ restaurant }) {
  const { action, content } = await ask('elicitation/create', {
    mode: 'form',
    message: `For how many is the table at ${restaurant}, and when?`,
    requestedSchema: {
      type: 'object',
      properties: {
        guests: { type: 'integer', title: 'Guests', minimum: 1, maximum: 12 },
        day: { type: 'string', title: 'Day', format: 'date' },
        place: {
          type: 'string',
          title: 'Place',
          oneOf: [
            { const: 'in', title: 'inside' },
            { const: 'out', title: 'in the garden' },
          ],
          default: 'in',
        },
      },
      required: ['guests', 'day'],
    },
  });
  if (action !== 'accept') return `Nothing is booked: the person said ${action}.`;
  return `Booked at ${restaurant} for ${content.guests} on ${content.day}, ${content.place}.`;
}

async function nameIt({ thing }) {
  const text = `One word: what would you call ${thing}?`;
  const { content } = await ask('sampling/createMessage', { messages: [{ role: 'user', content: { type: 'text', text } }], maxTokens: 20 });
  return `It is called ${content.text}.`;
}

const works = { book, name_it: nameIt };

async function answer({ method, params = {} }) {
  if (method === 'initialize')
    return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'table', version: '1.0.0' } };
  if (method === 'ping') return {};
  if (method === 'tools/list') return { tools };
  const work = method === 'tools/call' ? works[params.name] : undefined;
  if (work === undefined) throw Object.assign(new Error(`there is no ${method}`), { code: -32601 });
  return { content: [{ type: 'text', text: await work(params.arguments ?? {}) }] };
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line);
  const asked = waiting.get(message.id);
  if (message.method === undefined && asked !== undefined) {
    waiting.delete(message.id);
    if (message.error === undefined) asked.resolve(message.result);
    else asked.reject(new Error(message.error.message));
    return;
  }
  if (message.id === undefined) return;
  answer(message).then(
    (result) => say({ id: message.id, result }),
    (error) => say({ id: message.id, error: { code: error.code ?? -32603, message: error.message } }),
  );
});
