import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';

/** Customers, as some system of yours may have them. */
const customers = new Map([
  ['ada', { name: 'Ada', balance: 12 }],
  ['bo', { name: 'Bo', balance: 0 }],
]);

const say = (text: string) => process.stderr.write(`${text}\n`);
// Without a key the token of this user is shown, where the server is on this machine.
const client = createNexusClient({ baseUrl: process.env.NEXUS_URL ?? 'http://127.0.0.1:8080', apiKey: process.env.NEXUS_API_KEY });

const lookup = defineTool({
  name: 'crm_lookup',
  description: 'The account of a customer, by id',
  input: { type: 'object', properties: { customer: { type: 'string' } }, required: ['customer'], additionalProperties: false },
  effects: 'none',
  permissions: ['crm.read'],
  execute({ customer }, { progress }) {
    progress(`looking for ${customer}`);
    const found = customers.get(String(customer));
    if (found === undefined) throw new Error(`there is no customer ${customer}; known are ${[...customers.keys()].join(', ')}`);
    return found;
  },
});

const worker = serveTools(client, [lookup], { name: 'crm', onError: (error) => say(String(error)) });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void worker.close());
worker.ready.then(
  (id) => say(`serving as ${id}`),
  () => undefined, // what it fails of ends the worker as well
);
await worker.closed;
