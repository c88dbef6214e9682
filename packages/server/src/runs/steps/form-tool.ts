import { askHuman, describeTool } from '#tools';

const text = (maxLength: number) => ({ type: 'string', maxLength });

/**
 * `ask_human` as an MCP server asks in the midst of a call: a person fills in a form, or opens an address. Policy is asked about it by the
 * name that it has for models, and no model is offered this one.
 */
export const formTool = describeTool({
  name: askHuman,
  description: 'Has a person fill in the form of an MCP server.',
  inputSchema: {
    type: 'object',
    properties: {
      server: text(100),
      tool: text(100),
      question: { ...text(30_000), minLength: 1 },
      fields: { type: 'array', items: { type: 'object' }, maxItems: 50 },
      url: text(10_000),
      host: text(1_000),
    },
    required: ['server', 'tool', 'question'],
    additionalProperties: false,
  },
  effects: 'none',
  permissions: ['human'],
  timeoutMs: 1_000,
  source: 'built-in',
  tier: 'person',
  kind: 'question',
});
