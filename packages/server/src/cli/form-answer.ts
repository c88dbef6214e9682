import { type AskedForm, dictionary, type FormField } from '@nexus-agent/protocol';
import { NexusApiError, type NexusClient } from '@nexus-agent/sdk';
import { visibleLine } from '#core/visible';
import { type CliContext, parseJsonOption } from './context.ts';
import { UsageError } from './exit-codes.ts';

/** What a person is shown of a form: who asks, and each field with what fits it. */
export function formText({ server, tool, url, host, fields = [] }: AskedForm): string {
  const lines = [`asked by the MCP server ${server}, in a call of ${tool}`];
  if (url !== undefined)
    lines.push(
      `it wants you to open, in a browser of your own, an address of ${host}`,
      `  ${url}`,
      'to answer yes means that you let it go on',
    );
  for (const field of fields) lines.push(`  ${fieldText(field)}`);
  return lines.join('\n');
}

function fieldText(field: FormField): string {
  const { name, title, description, required } = field;
  const about = [title, description].filter((text) => text !== undefined).join(': ');
  // One field is one line: what a server wrote into several could pass for others, or for who asks.
  return visibleLine(`${name} (${kindText(field)}${required ? ', required' : ''})${about === '' ? '' : ` ${about}`}`);
}

function kindText({ type, format, choices = [], minimum, maximum, default: preset }: FormField): string {
  const range = minimum === undefined && maximum === undefined ? '' : ` ${minimum ?? ''}..${maximum ?? ''}`;
  const listed = choices.map(({ value, title }) => (title === undefined ? value : `${value} = ${title}`)).join(', ');
  const kind = dictionary({
    text: format ?? 'text',
    number: `number${range}`,
    integer: `whole number${range}`,
    boolean: 'true or false',
    choice: `one of: ${listed}`,
    choices: `some of, with commas: ${listed}`,
  });
  return `${kind[type]}${preset === undefined ? '' : `; else ${JSON.stringify(preset)}`}`;
}

/** The fields of a form from `name=value` words, from one JSON object, or from plain text where there is one field. */
export function formContent({ fields = [], url }: AskedForm, words: readonly string[]): Record<string, unknown> {
  const text = words.join(' ').trim();
  if (url !== undefined) {
    if (/^y(es)?$/i.test(text)) return {};
    throw new UsageError('it asks whether it may go on: answer yes, or deny it with nexus approvals deny <approval>');
  }
  if (text.startsWith('{')) return parseJsonOption(text, 'the answer');
  const [only] = fields;
  const known = (word: string) => fields.some(({ name }) => word.startsWith(`${name}=`));
  if (fields.length === 1 && only !== undefined && !known(words[0] ?? '')) return { [only.name]: typedValue(only, text) };
  return Object.fromEntries(
    words.map((word) => {
      const field = fields.find(({ name }) => word.startsWith(`${name}=`));
      if (field === undefined)
        throw new UsageError(
          `expected name=value with one of the names ${fields.map(({ name }) => name).join(', ') || '(it has no fields)'}, got ${word}`,
        );
      return [field.name, typedValue(field, word.slice(field.name.length + 1))];
    }),
  );
}

/** What cannot be read stays text: the server says what would be right. */
function typedValue({ type, choices = [] }: FormField, text: string): unknown {
  const word = text.trim();
  if (type === 'number' || type === 'integer') return word === '' || Number.isNaN(Number(word)) ? text : Number(word);
  if (type === 'boolean') return /^(true|yes|y)$/i.test(word) ? true : /^(false|no|n)$/i.test(word) ? false : text;
  if (type === 'choices') return word === '' ? [] : word.split(',').map((each) => choiceOf(choices, each.trim()));
  return type === 'choice' ? choiceOf(choices, word) : text;
}

/** By its title as well. */
function choiceOf(choices: NonNullable<FormField['choices']>, word: string): string {
  if (choices.some(({ value }) => value === word)) return word;
  return choices.find(({ title }) => title === word)?.value ?? word;
}

/** Asks field by field and answers, and asks again where the server does not take it. Throws what else it says. */
export async function askForm(
  context: CliContext,
  client: Pick<NexusClient, 'approvals'>,
  form: AskedForm,
  approvalId: string,
  ask: (question: string) => Promise<string | null>,
): Promise<'answered' | 'later'> {
  const { fields = [], url } = form;
  context.note(formText(form).replace(/^/gm, '    '));
  const choice = await ask(`  ${url === undefined ? 'fill it in' : 'may it go on'}? [y]es, [n]o, [l]ater: `);
  const letter = choice?.trim().toLowerCase().charAt(0);
  if (letter !== 'y' && letter !== 'n') return 'later';
  for (;;) {
    const content: [string, unknown][] = [];
    for (const field of letter === 'y' ? fields : []) {
      const text = await ask(`  ${fieldText(field)}: `);
      if (text === null) return 'later';
      if (text !== '') content.push([field.name, typedValue(field, text)]);
    }
    try {
      await client.approvals.answer(
        approvalId,
        letter === 'y' ? { decision: 'answer', content: Object.fromEntries(content) } : { decision: 'deny' },
      );
      return 'answered';
    } catch (error) {
      if (!(error instanceof NexusApiError) || error.code !== 'invalid_request' || letter === 'n' || fields.length === 0) throw error;
      context.note(`  ${error.message}`);
    }
  }
}
