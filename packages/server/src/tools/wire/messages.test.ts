import { Metadata, status } from '@grpc/grpc-js';
import { errorTable } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { describeTool, type ToolPart } from '#tools';
import { makeTool, makeToolCall } from '../testing/index.ts';
import { loadDefinition } from './definition.ts';
import {
  answerFromWire,
  answerToWire,
  callFromWire,
  callToWire,
  ListToolsResponse,
  partFromWire,
  partToWire,
  toolToWire,
} from './messages.ts';
import { errorOf, statusOf } from './status.ts';

const { Execute, ListTools, Authorize } = loadDefinition().service;
const overWire = (part: ToolPart) => partFromWire(Execute.responseDeserialize(Execute.responseSerialize(partToWire(part))));

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
/** But for the name that objects read from outside never have. */
const object = fc
  .dictionary(
    text.filter((name) => name !== '__proto__'),
    fc.jsonValue({ maxDepth: 2 }),
  )
  .map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>); // it is one
const duration = { durationMs: fc.double({ min: 0, max: 1e9, noNaN: true }) };
const waited = fc.option(fc.double({ min: 1, max: 1e9, noNaN: true }), { nil: undefined });
const sha256 = fc.stringMatching(/^[0-9a-f]{64}$/);
const content = fc.option(fc.record({ sha256, bytes: fc.nat(), executable: fc.boolean() }), { nil: null });
const files = fc.record({
  treeId: fc.constant('ses_1'),
  version: fc.nat(),
  changes: fc.array(fc.record({ path: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), content }), { maxLength: 5 }),
});
const artifact = fc.record({
  artifactId: fc.constant('art_01h455vb4pex5vsknk084sn02q'),
  ...{ sha256, bytes: fc.nat(), characters: fc.nat(), lines: fc.nat(), mediaType: text, whole: fc.boolean() },
  cut: fc.record({ shownChars: fc.nat(), noteChars: fc.nat(), totalChars: fc.nat() }),
});
const error = fc
  .record({
    code: fc.constantFrom('not_found', 'tool_failed', 'limit_exceeded'),
    message: text,
    retryable: fc.option(fc.boolean(), { nil: undefined }),
    details: fc.option(object, { nil: undefined }),
  })
  .map((fields) => JSON.parse(JSON.stringify(fields)));
const part = fc.oneof(
  fc.record({ type: fc.constant('output'), text }),
  fc.record({
    type: fc.constant('authorization.wanted'),
    authorizationId: text,
    action: fc.constantFrom('net.egress', 'secret.use', 'file.read', 'file.write'),
    resource: text,
    context: fc.option(object, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('completed'),
    output: text,
    costMicroUsd: fc.nat(),
    ...duration,
    waitedMs: waited,
    files: fc.option(files, { nil: undefined }),
    artifact: fc.option(artifact, { nil: undefined }),
  }),
  fc.record({ type: fc.constant('failed'), error, began: fc.boolean(), ...duration, waitedMs: waited }),
);

/** Without what is undefined, and with no number that JSON has no word for. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

it('brings every part of a call over the wire as it was, files and details included [verifies tools.wire.conformance]', () => {
  fc.assert(
    fc.property(part, (given) => {
      const sent = plain(given) as ToolPart; // one of the shapes above
      expect(plain(overWire(sent))).toEqual(sent);
    }),
  );
});

it('brings arguments of any kind over the wire, and names of Object.prototype in them', () => {
  const { requestSerialize, requestDeserialize } = Execute;
  fc.assert(
    fc.property(
      fc.oneof(fc.jsonValue(), fc.constant(undefined), fc.constant(JSON.parse('{"__proto__":{"a":1},"toString":2}'))),
      (input) => {
        const call = makeToolCall({ input, filesOf: 'run_2', timeoutMs: 12.5, toolVersion: '' });
        expect(callFromWire(requestDeserialize(requestSerialize(callToWire(call))), undefined)).toEqual({
          ...call,
          input: plain(input === undefined ? null : input) ?? input,
        });
      },
    ),
  );
});

it('brings a tool over the wire with the version that it has', () => {
  const tools = [
    describeTool(makeTool({ name: 'a' })),
    describeTool({
      ...makeTool({
        outputSchema: {},
        kind: 'question',
        maxCostMicroUsd: 0,
        source: 'mcp:x',
        tier: 'T2',
        effects: 'once',
        permissions: ['a', 'b'],
      }),
      name: 'b',
    }),
  ].map((tool) => plain(tool));
  const bytes = ListTools.responseSerialize({ tools: tools.map(toolToWire) });
  expect(ListToolsResponse.parse(ListTools.responseDeserialize(bytes)).tools).toEqual(tools);
});

it('lets a tool go on only for a plain yes', () => {
  const about = { callId: 'call_1', attempt: 1, authorizationId: 'a' };
  const send = (answer: Parameters<typeof answerToWire>[0]) =>
    answerFromWire(Authorize.requestDeserialize(Authorize.requestSerialize(answerToWire(answer))));
  for (const verdict of [
    { allowed: true },
    { allowed: true, always: true },
    { allowed: false, error: { code: 'policy_denied', message: 'no' } },
  ] as const)
    expect(send({ ...about, ...verdict })).toEqual({ ...about, ...verdict });
  expect(answerFromWire(Authorize.requestDeserialize(Authorize.requestSerialize(about)))).toMatchObject({ allowed: false });
});

it('takes no id that leads out of a folder', () => {
  for (const sessionId of ['..', '../x', 'a/b', '', '.hidden', 'a\0b', 'x'.repeat(201)])
    expect(() => callFromWire({ ...callToWire(makeToolCall()), sessionId }, undefined)).toThrow(/expected 1 to 200/);
});

it('gives each error of the table its status, and the error itself to who asks for the details', () => {
  for (const [code, entry] of Object.entries(errorTable)) {
    const thrown = new NexusError(code as keyof typeof errorTable, `wrong: ${code}`, { details: { a: [1] } });
    const { metadata, ...sent } = statusOf(thrown);
    expect(status[sent.code]).toBe(entry.grpcStatus);
    expect(sent.details).toBe(`wrong: ${code}`);
    expect(errorOf({ metadata })).toEqual(thrown.toInfo());
  }
});

it('says nothing of an unexpected error, cuts what no trailer holds, and reads nothing from trailers that are broken', () => {
  expect(statusOf(new Error('secret')).details).not.toContain('secret');
  const large = statusOf(new NexusError('not_found', `\ud800${'x'.repeat(100_000)}`, { details: { a: 'x'.repeat(100_000) } }));
  expect(large.details.length).toBeLessThan(2_000);
  expect(large.details.isWellFormed()).toBe(true);
  expect(errorOf(large)).not.toHaveProperty('details');
  const metadata = new Metadata();
  expect(errorOf({ metadata })).toBeUndefined();
  metadata.set('grpc-status-details-bin', Buffer.from([255, 255, 255, 1]));
  expect(errorOf({ metadata })).toBeUndefined();
});

it('takes no artifact whose id is none [verifies tools.artifacts.kept]', () => {
  const end = { type: 'completed', output: '', costMicroUsd: 0, durationMs: 0 };
  const kept = { artifactId: 'art_1', sha256: 'a'.repeat(64), bytes: 1, characters: 1, lines: 1, mediaType: 'text/plain', whole: true };
  const sent = { ...end, artifact: { ...kept, cut: { shownChars: 0, noteChars: 0, totalChars: 0 } } } as ToolPart;
  expect(overWire(sent)).toBeUndefined();
});
