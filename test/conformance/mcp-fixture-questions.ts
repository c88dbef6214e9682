import type { InputRequests } from '@modelcontextprotocol/server';
import type { McpCall } from '../../packages/server/src/api/mcp/index.ts';
import { object, type Sdk, stringOf, text, type Work } from './mcp-fixture-data.ts';

export interface Questions {
  readonly tools: Readonly<Record<string, Work>>;
  /** A form that is put to the client. */
  readonly ask: (message: string, requestedSchema: FormSchema) => InputRequests[string];
  /** What the client said to a question; null: nothing. */
  readonly said: (call: McpCall, name: string) => string | null;
  readonly verify: (state: string, context: McpCall['context']) => unknown;
}

export type FormSchema = Parameters<Sdk['inputRequired']['elicit']>[0]['requestedSchema'];

/** Tools that ask their client before they answer, as revision 2026-07-28 has it. */
export function createQuestions(sdk: Sdk): Questions {
  const codec = sdk.createRequestStateCodec<{ round: number }>({ key: 'a secret of the fixture, long enough for it' });
  const ask = (message: string, requestedSchema: FormSchema) => sdk.inputRequired.elicit({ message, requestedSchema });
  const sample = (prompt: string) =>
    sdk.inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens: 100 });
  const said = ({ context }: McpCall, name: string): string | null => {
    const answer = sdk.inputResponse(context.mcpReq.inputResponses, name);
    if (answer.kind === 'missing') return null;
    return JSON.stringify(answer);
  };

  /** Asks until all is answered, then says what was said. */
  const asking =
    (requests: InputRequests, { state = false, tell = (said: string) => said } = {}): Work =>
    async (_args, call) => {
      const answers = Object.keys(requests).map((name) => said(call, name));
      if (answers.every((answer) => answer !== null)) return text(`${tell(answers.join(' '))}${state ? ' state-ok' : ''}`);
      return sdk.inputRequired({
        inputRequests: requests,
        ...(state ? { requestState: await codec.mint({ round: 1 }, call.context) } : {}),
      });
    };

  const multiRound: Work = async (_args, call) => {
    const round = call.context.mcpReq.requestState<{ round: number }>()?.round ?? 0;
    const next = async (name: string, message: string) =>
      sdk.inputRequired({
        inputRequests: { [name]: ask(message, stringOf('value')) },
        requestState: await codec.mint({ round: round + 1 }, call.context),
      });
    if (round === 0) return next('step1', 'Step 1: What is your name?');
    if (round === 1) return next('step2', 'Step 2: What is your favorite color?');
    return text('both are known');
  };

  const name = { user_name: ask('What is your name?', stringOf('name')) };
  const tools: Readonly<Record<string, Work>> = {
    test_missing_capability: async (_args, { client }) => {
      if (client.sampling === undefined) throw new sdk.MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
      return text('the client samples');
    },
    test_streaming_elicitation: asking(name),
    test_input_required_result_elicitation: async (_args, call) => {
      // What is no answer to the question is asked again.
      const answer = sdk.inputResponse(call.context.mcpReq.inputResponses, 'user_name');
      const known = answer.kind === 'elicit' && typeof answer.content?.name === 'string' ? answer.content.name : null;
      return known === null ? sdk.inputRequired({ inputRequests: name }) : text(`Hello, ${known}!`);
    },
    test_input_required_result_sampling: asking({ capital_question: sample('What is the capital of France?') }),
    test_input_required_result_list_roots: asking({ client_roots: sdk.inputRequired.listRoots() }),
    test_input_required_result_request_state: asking({ confirm: ask('Please confirm', booleanOf('ok')) }, { state: true }),
    test_input_required_result_tampered_state: asking({ confirm: ask('Please confirm', booleanOf('ok')) }, { state: true }),
    test_input_required_result_multiple_inputs: asking(
      { ...name, greeting: sample('Generate a greeting'), client_roots: sdk.inputRequired.listRoots() },
      { state: true },
    ),
    test_input_required_result_multi_round: multiRound,
    test_input_required_result_capabilities: async (args, call) =>
      asking({
        ...(call.client.sampling === undefined ? {} : { greeting: sample('Generate a greeting') }),
        ...(call.client.elicitation === undefined ? {} : name),
      })(args, call),
  };
  return { tools, ask, said, verify: (state, context) => codec.verify(state, context) };
}

function booleanOf(name: string) {
  return { ...object, properties: { [name]: { type: 'boolean' as const } }, required: [name] };
}
