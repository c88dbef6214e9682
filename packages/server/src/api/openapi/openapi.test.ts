import Ajv2020 from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';
import { createOpenApiDocument } from '#api';
import { startTestPlatform } from '#apps/testing';

const document = createOpenApiDocument('1.2.3');
const text = JSON.stringify(document);

it('has an operation for each route with unique ids and declared path parameters', () => {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.values(methods).map((operation) => ({ path, operation })),
  );
  expect(operations.length).toBeGreaterThan(35);
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { path, operation } of operations) {
    const declared = operation.parameters.filter((parameter) => parameter.in === 'path').map((parameter) => parameter.name);
    expect(declared, path).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    expect(Object.keys(operation.responses), path).toContain('default');
  }
});

it('is served as it is generated from the routes that the server registers [verifies api.openapi]', async () => {
  const { url, close } = await startTestPlatform();
  try {
    const served: unknown = await (await fetch(`${url}/openapi.json`)).json();
    expect(served).toEqual(JSON.parse(JSON.stringify(createOpenApiDocument('0.0.0-test'))));
  } finally {
    await close();
  }
});

it('refers only to components that exist', () => {
  for (const [, section, name] of text.matchAll(/"\$ref":"#\/components\/(\w+)\/(\w+)"/g)) {
    expect(Object.keys(section === 'schemas' ? document.components.schemas : document.components.responses), name).toContain(name);
  }
  expect(text).not.toContain('$defs');
});

it('has components that are valid JSON Schema 2020-12', () => {
  const ajv = new Ajv2020.default({ strict: false, validateFormats: false });
  const bundle = JSON.parse(JSON.stringify(document.components.schemas).replaceAll('#/components/schemas/', '#/$defs/'));
  for (const name of Object.keys(bundle)) {
    ajv.compile({ $schema: 'https://json-schema.org/draft/2020-12/schema', $ref: `#/$defs/${name}`, $defs: bundle });
  }
  const session = ajv.compile({ $ref: '#/$defs/SessionCreateRequest', $defs: bundle });
  expect(session({ budget: { tokens: 1 } })).toBe(true);
  expect(session({ budgt: {} })).toBe(false);
});

it('tells what may be sent from what is answered: defaults may be left out', () => {
  expect(document.components.schemas.AgentDefinitionInput?.required).toEqual(['name']);
  expect(document.components.schemas.AgentDefinition?.required).toContain('maxSteps');
});
