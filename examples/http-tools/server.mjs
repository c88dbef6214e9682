// A small API of pets, for trying HTTP tools: node examples/http-tools/server.mjs [port]
import { createServer } from 'node:http';

const token = process.env.PETS_TOKEN ?? 'a-token-for-pets';
const pets = [
  { name: 'Minka', kind: 'cat' },
  { name: 'Rex', kind: 'dog' },
];

createServer(async (request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.headers.authorization !== `Bearer ${token}`) return answer(401, { error: 'who are you?' });
  const url = new URL(request.url, 'http://localhost');
  const [, , collection, name] = url.pathname.split('/').map(decodeURIComponent);
  if (collection !== 'pets') return answer(404, { error: 'there are only pets' });
  if (request.method === 'POST') {
    let text = '';
    for await (const piece of request) text += piece;
    const pet = JSON.parse(text);
    pets.push(pet);
    return answer(201, pet);
  }
  if (name === undefined)
    return answer(
      200,
      pets.filter(({ kind }) => [kind, null].includes(url.searchParams.get('kind'))),
    );
  const found = pets.find((pet) => pet.name === name);
  return found === undefined ? answer(404, { error: `there is no ${name}` }) : answer(200, found);
}).listen(Number(process.argv[2] ?? 8098), '127.0.0.1');
