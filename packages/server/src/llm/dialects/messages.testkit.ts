import type { AssistantPart, Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import toolNames from '../../../../../test/cases/10-tool-names.json' with { type: 'json' };

/** The model that is asked, an older one of its provider, and one of another. */
export const givers = [
  { provider: 'p', model: 'm' },
  { provider: 'p', model: 'older' },
  { provider: 'q', model: 'm' },
];

const blanks = fc.constantFrom('', ' ', '\n\n', '\t \u00a0', '\u2028', '\ufeff');
const units = fc.array(fc.nat(0xffff), { maxLength: 8 }).map((codes) => String.fromCharCode(...codes));
/** Texts can be told from one another, and halves of pairs never meet. */
const someText = fc.tuple(fc.oneof(fc.string(), units), fc.nat()).map(([piece, number]) => `${piece}<${number}>${piece}.`);
const text = fc.oneof(blanks, someText);
const id = fc.oneof(fc.constantFrom('', 'same', 'call_0', 'functions.fs_list:0', 'x'.repeat(300), 'c00000001'), fc.string());
const name = fc.oneof(fc.constantFrom(...toolNames.names, 'fs_list', '__proto__', 'pro\ud800be'), fc.string());
const giver = fc.option(fc.constantFrom(...givers), { nil: undefined });
const input = fc.oneof(fc.object(), fc.jsonValue(), fc.constant(undefined), fc.record({ '\ud800': units }));

const textPart = text.map((value) => ({ type: 'text' as const, text: value }));
const image = fc.constantFrom('AAAA', '').map((base64) => ({ type: 'image' as const, mediaType: 'image/png' as const, data: { base64 } }));
const reasoning = fc
  .record({ text, signature: fc.option(fc.constantFrom('sig==', 'redacted_thinking:x'), { nil: undefined }), givenBy: giver })
  .map((part) => ({ type: 'reasoning' as const, ...part, field: 'reasoning_content' }));
const toolCall = fc
  .record({ providerCallId: id, name, input, invalidInput: fc.option(units, { nil: undefined }), givenBy: giver })
  .map((part) => ({ type: 'tool_call' as const, ...part, opaque: { extra_content: { by: part.givenBy?.provider } } }));
const result = fc
  .record({ providerCallId: id, name, output: text, isError: fc.boolean() })
  .map((part) => ({ type: 'tool_result' as const, ...part }));
const answer = fc.oneof({ weight: 3, arbitrary: textPart }, reasoning, { weight: 3, arbitrary: toolCall });
/** Whatever may be stored as a message. */
export const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    role: fc.constant('user' as const),
    content: fc.array(fc.oneof({ weight: 4, arbitrary: textPart }, image), { maxLength: 3 }),
  }),
  fc.record({ role: fc.constant('assistant' as const), content: fc.array<AssistantPart>(answer, { maxLength: 4 }) }),
  fc.record({ role: fc.constant('tool' as const), content: fc.array(result, { maxLength: 3 }) }),
);
