import type { ContentBlock, Tool } from '@modelcontextprotocol/server';
import type { McpSurface } from '../../packages/server/src/api/mcp/index.ts';
import { jsonSchema202012, object, png, prompts, type Sdk, stringOf, text, type Work, wav } from './mcp-fixture-data.ts';
import { createQuestions, type FormSchema } from './mcp-fixture-questions.ts';

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const image: ContentBlock = { type: 'image', data: png, mimeType: 'image/png' };

/** What the suite's scenarios call by name. */
export function createFixtureSurface(sdk: Sdk): McpSurface {
  const questions = createQuestions(sdk);
  const { ask, said } = questions;
  const elicited =
    (of: (args: Record<string, unknown>) => { message: string; requestedSchema: FormSchema }, verb: string): Work =>
    async (args, { context }) => {
      const form = { mode: 'form', ...of(args) } as Parameters<typeof context.mcpReq.elicitInput>[0]; // by its mode
      // On the stream of the call: the other one may not be open yet.
      const { action, content } = await context.mcpReq.elicitInput(form, { relatedRequestId: context.mcpReq.id });
      return text(`${verb}: action=${action}, content=${JSON.stringify(content ?? {})}`);
    };

  const logged: Work = async (_args, { context: { mcpReq } }) => {
    for (const line of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.log('info', line);
      await pause(50);
    }
    return text('logged');
  };

  const work: Readonly<Record<string, Work>> = {
    test_simple_text: async () => text('This is a simple text response for testing.'),
    test_image_content: async () => ({ content: [image] }),
    test_audio_content: async () => ({ content: [{ type: 'audio', data: wav, mimeType: 'audio/wav' }] }),
    test_embedded_resource: async () => ({
      content: [
        {
          type: 'resource',
          resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' },
        },
      ],
    }),
    test_multiple_content_types: async () => ({
      content: [
        { type: 'text', text: 'Multiple content types test:' },
        image,
        {
          type: 'resource',
          resource: { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' },
        },
      ],
    }),
    test_tool_with_logging: logged,
    test_logging_tool: logged,
    test_error_handling: async () => ({ ...text('This tool intentionally returns an error for testing'), isError: true }),
    test_tool_with_progress: async (_args, { context: { mcpReq } }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined)
          await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
        await pause(50);
      }
      return text('done');
    },
    test_sampling: async ({ prompt }, { context }) => {
      const asked = { messages: [{ role: 'user' as const, content: { type: 'text' as const, text: String(prompt) } }], maxTokens: 100 };
      const { content } = await context.mcpReq.requestSampling(asked, { relatedRequestId: context.mcpReq.id });
      return text(`LLM response: ${JSON.stringify(content)}`);
    },
    test_elicitation: elicited(
      ({ message }) => ({
        message: String(message),
        requestedSchema: {
          ...object,
          properties: { username: { type: 'string' }, email: { type: 'string' } },
          required: ['username', 'email'],
        },
      }),
      'User response',
    ),
    test_elicitation_sep1034_defaults: elicited(
      () => ({ message: 'Defaults', requestedSchema: { ...object, properties: defaults } }),
      'Elicitation completed',
    ),
    test_elicitation_sep1330_enums: elicited(
      () => ({ message: 'Enums', requestedSchema: { ...object, properties: enums } }),
      'Elicitation completed',
    ),
    json_schema_2020_12_tool: async () => text('fine'),
    ...questions.tools,
  };
  const schemas: Readonly<Record<string, Tool['inputSchema']>> = {
    test_sampling: stringOf('prompt'),
    test_elicitation: stringOf('message'),
    json_schema_2020_12_tool: jsonSchema202012,
  };
  const tools = Object.keys(work).map(
    (each): Tool => ({ name: each, description: `For the scenario ${each}`, inputSchema: schemas[each] ?? { ...object } }),
  );

  return {
    info: { name: 'a-fixture', version: '1.0.0' },
    capabilities: { tools: {}, resources: { subscribe: true }, prompts: {}, logging: {}, completions: {} },
    verifyState: questions.verify,
    handlers: {
      'tools/list': async () => ({ tools }),
      async 'tools/call'({ name: called, arguments: args = {} }, call) {
        const found = Object.hasOwn(work, called) ? work[called] : undefined;
        if (found === undefined) throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, `there is no tool ${called}`);
        return found(args, call);
      },
      'resources/list': async () => ({ resources: resources.map(({ uri, mimeType }) => ({ uri, name: uri, description: uri, mimeType })) }),
      'resources/templates/list': async () => ({
        resourceTemplates: [
          { uriTemplate: 'test://template/{id}/data', name: 'template', description: 'A template', mimeType: 'application/json' },
        ],
      }),
      async 'resources/read'({ uri }) {
        const direct = resources.find((each) => each.uri === uri);
        if (direct !== undefined) return { contents: [direct] };
        const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
        if (id === undefined) throw new sdk.ResourceNotFoundError(uri);
        return {
          contents: [{ uri, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
        };
      },
      'resources/subscribe': async () => ({}),
      'resources/unsubscribe': async () => ({}),
      'prompts/list': async () => ({ prompts: prompts.map(({ messages: _messages, ...prompt }) => prompt) }),
      async 'prompts/get'({ name: asked, arguments: args = {} }, call) {
        if (asked === 'test_input_required_result_prompt') {
          const known = said(call, 'user_context');
          if (known === null)
            return sdk.inputRequired({ inputRequests: { user_context: ask('What context should the prompt use?', stringOf('context')) } });
          return { messages: [{ role: 'user', content: { type: 'text', text: known } }] };
        }
        const prompt = prompts.find((each) => each.name === asked);
        if (prompt === undefined) throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, `there is no prompt ${asked}`);
        return { messages: prompt.messages(args) };
      },
      'completion/complete': async () => ({ completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false } }),
    },
  };
}

const resources = [
  { uri: 'test://static-text', mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
  { uri: 'test://static-binary', mimeType: 'image/png', blob: png },
  { uri: 'test://watched-resource', mimeType: 'text/plain', text: 'watched' },
] as const;

const defaults = {
  name: { type: 'string' as const, default: 'John Doe' },
  age: { type: 'integer' as const, default: 30 },
  score: { type: 'number' as const, default: 95.5 },
  status: { type: 'string' as const, enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean' as const, default: true },
};

const titled = (prefix: string, title: string) =>
  ['First', 'Second', 'Third'].map((nth, index) => ({ const: `${prefix}${index + 1}`, title: `${nth} ${title}` }));
const enums = {
  untitledSingle: { type: 'string' as const, enum: ['option1', 'option2', 'option3'] },
  titledSingle: { type: 'string' as const, oneOf: titled('value', 'Option') },
  legacyEnum: { type: 'string' as const, enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
  untitledMulti: { type: 'array' as const, items: { type: 'string' as const, enum: ['option1', 'option2', 'option3'] } },
  titledMulti: { type: 'array' as const, items: { anyOf: titled('value', 'Choice') } },
};
