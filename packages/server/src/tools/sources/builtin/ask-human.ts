import { NexusError } from '#core';
import { askHuman, type Tool } from '#tools/contract';

/** `ask_human`: a question to a person. The engine makes the run wait for the answer; nothing is executed here. */
export function createAskHumanTool(): Tool {
  return {
    name: askHuman,
    description:
      'Asks a person and gives their answer. Use it when a decision or a fact is missing that only a person can give. The run waits for the answer.',
    inputSchema: {
      type: 'object',
      properties: {
        question: { type: 'string', minLength: 1, maxLength: 4_000, description: 'One question that can be answered on its own' },
        choices: {
          type: 'array',
          items: { type: 'string', minLength: 1, maxLength: 200 },
          minItems: 2,
          maxItems: 20,
          description: 'Possible answers, when there are few',
        },
      },
      required: ['question'],
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'person',
    permissions: ['human'],
    timeoutMs: 1_000,
    kind: 'question',
    execute: () =>
      Promise.reject(new NexusError('tool_failed', 'a question is put to a person by the engine of runs; it cannot be executed')),
  };
}
