/** A parsed request body; the checks look at every member before they use it. */
// biome-ignore lint/suspicious/noExplicitAny: bodies of any shape are looked at
type Body = any;

/** What a server that is as strict as the real one refuses in a request; nothing for one that it takes. */
export type StrictCheck = (body: string) => string[];

const blank = /^[\s\p{Cc}]*$/u;
const half = /\\u[dD][89a-fA-F][0-9a-fA-F]{2}/;

function checkText(text: string): string[] {
  return half.test(text.replaceAll('\\\\', '')) ? ['half a surrogate pair'] : [];
}

export const strictAnthropic: StrictCheck = (text) => {
  const body: Body = JSON.parse(text);
  const faults = checkText(text);
  const ids = new Set<string>();
  const fault = (what: string, at: number) => faults.push(`messages.${at}: ${what}`);
  if (body.messages.length === 0) faults.push('messages: at least one is required');
  for (const block of body.system ?? []) if (blank.test(block.text)) faults.push('system: blank');
  let open: string[] = [];
  for (const [at, message] of body.messages.entries()) {
    if (message.role !== (at % 2 === 0 ? 'user' : 'assistant')) fault(`unexpected role ${message.role}`, at);
    if (!Array.isArray(message.content) || message.content.length === 0) fault('no content', at);
    const types: string[] = message.content.map((block: Body) => block.type);
    for (const block of message.content) {
      if (block.type === 'text' && blank.test(block.text)) fault('blank text', at);
      if (block.type === 'thinking' && (typeof block.signature !== 'string' || block.signature === ''))
        fault('thinking without signature', at);
      if (block.type === 'tool_result' && blank.test(block.content)) fault('blank result', at);
      if (block.type === 'tool_use') {
        if (!/^[a-zA-Z0-9_-]+$/.test(block.id) || ids.has(block.id)) fault(`id ${block.id}`, at);
        if (!/^[a-zA-Z0-9_-]{1,128}$/.test(block.name)) fault(`name ${block.name}`, at);
        if (typeof block.input !== 'object' || block.input === null || Array.isArray(block.input)) fault('input is no object', at);
        ids.add(block.id);
      }
    }
    const results = message.content.filter((block: Body) => block.type === 'tool_result').map((block: Body) => block.tool_use_id);
    if (message.role === 'user') {
      if (JSON.stringify(results) !== JSON.stringify(open)) fault(`results ${results} for calls ${open}`, at);
      if (types.lastIndexOf('tool_result') >= results.length) fault('results after other content', at);
      open = [];
    } else {
      if (results.length > 0) fault('a result of the assistant', at);
      if (types.includes('tool_use') && types.lastIndexOf('text') > types.indexOf('tool_use'))
        fault('text between calls and their results', at);
      const loose = types.findLastIndex((type) => /thinking/.test(type)) > types.findIndex((type) => !/thinking/.test(type));
      if (loose) fault('thinking after other content', at);
      if (types.every((type) => /thinking/.test(type))) fault('nothing but thinking', at);
      open = message.content.filter((block: Body) => block.type === 'tool_use').map((block: Body) => block.id);
    }
  }
  const last = body.messages.at(-1);
  if (last?.role === 'assistant' && /\s$/.test(last.content.at(-1)?.text ?? '')) faults.push('trailing white space in the last message');
  if (open.length > 0) faults.push('calls without results');
  if (ids.size > 0 && body.tools === undefined) faults.push('tools: required with calls in the conversation');
  for (const tool of body.tools ?? []) {
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(tool.name)) faults.push(`tools: ${tool.name}`);
    if (tool.input_schema.type !== 'object') faults.push('tools: the input must be an object');
    for (const name of Object.keys(tool.input_schema.properties ?? {}))
      if (!/^[a-zA-Z0-9_.-]{1,64}$/.test(name)) faults.push(`tools: property ${name}`);
    for (const word of ['oneOf', 'anyOf', 'allOf']) if (word in tool.input_schema) faults.push(`tools: ${word} at the top`);
  }
  const format = body.output_config?.format;
  if (format !== undefined) faults.push(...schemaFaults(format.schema, { closed: true }));
  return faults;
};

const openAiMembers = new Set(
  'model messages tools max_tokens max_completion_tokens temperature response_format stream stream_options'.split(' '),
);

export const strictOpenAi: StrictCheck = (text) => {
  const body: Body = JSON.parse(text);
  const faults = checkText(text);
  for (const name of Object.keys(body)) if (!openAiMembers.has(name)) faults.push(`${name}: extra inputs are not permitted`);
  if (body.messages.filter((message: Body) => message.role !== 'system').length === 0) faults.push('no messages');
  let open: string[] = [];
  for (const [at, message] of body.messages.entries()) {
    const fault = (what: string) => faults.push(`messages.${at}: ${what}`);
    if (message.role === 'tool') {
      if (open[0] !== message.tool_call_id) fault(`a result of ${message.tool_call_id} where ${open} are open`);
      if (typeof message.content !== 'string') fault('a result without content');
      open = open.slice(1);
      continue;
    }
    if (open.length > 0) fault(`calls without results: ${open}`);
    open = [];
    if (message.role === 'assistant') {
      const calls: Body[] = message.tool_calls ?? [];
      if (message.content === null && calls.length === 0) fault('neither content nor calls');
      if (message.tool_calls !== undefined && calls.length === 0) fault('no calls in the list');
      if (calls.length > 128) fault(`${calls.length} calls, and 128 at most`);
      if (typeof message.content === 'string' && blank.test(message.content)) fault('blank content');
      for (const call of calls) {
        if (call.id.length < 1 || call.id.length > 40) fault(`id ${call.id}`);
        if (!/^[a-zA-Z0-9_-]{1,64}$/.test(call.function.name)) fault(`name ${call.function.name}`);
        faults.push(...checkText(call.function.arguments));
        const input: unknown = JSON.parse(call.function.arguments);
        if (typeof input !== 'object' || input === null || Array.isArray(input)) fault('arguments are no object');
      }
      open = calls.map((call) => call.id);
    } else if (message.role === 'user' || message.role === 'system') {
      const texts: string[] =
        typeof message.content === 'string' ? [message.content] : message.content.flatMap((part: Body) => part.text ?? []);
      if (texts.some((part) => blank.test(part)) || message.content.length === 0) fault('blank content');
    } else fault(`role ${message.role}`);
  }
  if (open.length > 0) faults.push(`calls without results: ${open}`);
  for (const tool of body.tools ?? []) {
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(tool.function.name)) faults.push(`tools: ${tool.function.name}`);
    const { parameters } = tool.function;
    if (parameters.type !== 'object' || typeof parameters.properties !== 'object') faults.push('tools: no object');
    for (const word of ['oneOf', 'anyOf', 'allOf', 'enum', 'not']) if (word in parameters) faults.push(`tools: ${word} at the top`);
  }
  const format = body.response_format?.json_schema;
  if (format !== undefined) faults.push(...schemaFaults(format.schema, { closed: format.strict === true }));
  return faults;
};

/** Besides what OpenAI refuses: ids of another shape, and turns in another order. */
export const strictMistral: StrictCheck = (text) => {
  const { messages }: Body = JSON.parse(text);
  const faults = strictOpenAi(text);
  for (const [at, message] of messages.entries()) {
    const before = messages[at - 1]?.role;
    for (const call of message.tool_calls ?? []) if (!/^[a-zA-Z0-9]{9}$/.test(call.id)) faults.push(`id ${call.id}`);
    if (message.role === 'user' && before === 'tool') faults.push("Unexpected role 'user' after role 'tool'");
    if (message.role === before && before !== 'tool') faults.push(`two messages of ${before} in a row`);
  }
  if (messages.at(-1)?.role === 'assistant') faults.push('the last role is assistant');
  return faults;
};

const unknownWords = new Set(
  'minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format minItems maxItems uniqueItems oneOf allOf not if then else patternProperties minProperties maxProperties $schema $defs $ref'.split(
    ' ',
  ),
);

/** What a server that constrains decoding refuses in the schema of an answer. */
function schemaFaults(schema: unknown, { closed }: { readonly closed: boolean }): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const node: Body = schema;
  const faults = Object.keys(node).flatMap((key) => (unknownWords.has(key) ? [`${key} is not available`] : []));
  if (closed && node.type === 'object' && node.additionalProperties !== false) faults.push('additionalProperties must be false');
  const below: unknown[] = [...Object.values(node.properties ?? {}), ...(node.anyOf ?? []), node.items];
  return [...faults, ...below.flatMap((item) => schemaFaults(item, { closed }))];
}
