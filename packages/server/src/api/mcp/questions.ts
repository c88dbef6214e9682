import type { ClientCapabilities, ElicitRequestFormParams } from '@modelcontextprotocol/server';
import type { Approval, ApprovalAnswer, AskedForm, FormField } from '@nexus-agent/protocol';
import { z } from 'zod';
import { visible } from '#core/visible';
import type { Principal } from '#identity';

/** Longer arguments are not shown in a form: who approves sees all of what will run, or answers elsewhere. */
const maxArgumentChars = 8_000;

/** Whether this person, at this client, can be asked at all. */
export function canBeAsked({ scopes }: Principal, { elicitation }: ClientCapabilities): boolean {
  // One that names no mode takes forms; one that takes addresses only is not asked.
  const takesForms = elicitation !== undefined && (elicitation.form !== undefined || Object.keys(elicitation).length === 0);
  return takesForms && (scopes.includes('approvals') || scopes.includes('admin'));
}

/** The form that asks what waits; null for what no form can show. */
export function questionOf(approval: Approval): ElicitRequestFormParams | null {
  const text = JSON.stringify(approval.arguments, null, 2) ?? 'none';
  if (text.length > maxArgumentChars) return null;
  const { toolName: tool, question } = approval;
  const note = { type: 'string' as const, title: 'Note', description: 'Why, for the record', maxLength: 2_000 };
  const ask = (message: string, requestedSchema: ElicitRequestFormParams['requestedSchema']) => ({
    mode: 'form' as const,
    // Of a model, or of a stranger: what runs is what is read, whatever the client does with signs that nobody sees.
    message: `${visible(message)}\nRun ${approval.runId}, approval ${approval.id}, until ${approval.deadlineAt} (then: ${approval.defaultDecision}).`,
    requestedSchema,
  });
  switch (approval.kind) {
    case 'tool_call':
      return ask(`May ${tool} run with these arguments? Accept approves it, decline denies it, cancel leaves it waiting.\n${text}`, {
        type: 'object',
        properties: { note },
      });
    case 'question':
      if (approval.form?.url !== undefined)
        return ask(
          `${question}\nOpen it yourself, in a browser, at ${approval.form.host}: ${approval.form.url}\nAccept lets it go on, decline does not.`,
          { type: 'object', properties: {} },
        );
      if (approval.form !== undefined) return ask(question ?? approval.form.question, schemaOf(approval.form));
      return ask(question ?? `${tool} asks: ${text}`, {
        type: 'object',
        properties: { answer: { type: 'string', title: 'Answer', maxLength: 100_000 } },
        required: ['answer'],
      });
    case 'unknown_outcome':
      return ask(`Nobody knows whether ${tool} took effect with these arguments. What is to be done?\n${text}`, {
        type: 'object',
        properties: {
          decision: { type: 'string', title: 'What is to be done', enum: ['done', 'retry', 'fail'] },
          result: { type: 'string', title: 'Result', description: 'What it gave, if it was done', maxLength: 100_000 },
        },
        required: ['decision'],
      });
  }
}

type FormSchema = ElicitRequestFormParams['requestedSchema'];

/** The form of another server, as a client of ours is asked to show it. */
function schemaOf({ fields = [] }: AskedForm): FormSchema {
  const properties = Object.fromEntries(fields.map((field) => [field.name, propertyOf(field)]));
  return { type: 'object', properties, required: fields.filter(({ required }) => required).map(({ name }) => name) };
}

function propertyOf({ name: _name, required: _required, type, choices = [], ...field }: FormField): FormSchema['properties'][string] {
  const options = choices.map(({ value, title = value }) => ({ const: value, title }));
  const property =
    type === 'choices'
      ? { ...field, type: 'array', items: { anyOf: options } }
      : type === 'choice'
        ? { ...field, type: 'string', oneOf: options }
        : { ...field, type: type === 'text' ? 'string' : type };
  return property as FormSchema['properties'][string]; // each default is of its own type: it was held against its field
}

const answerSchemas = {
  tool_call: z.object({ note: z.string().max(2_000).optional() }),
  question: z.object({ answer: z.string().max(100_000) }),
  unknown_outcome: z.object({ decision: z.enum(['done', 'retry', 'fail']), result: z.string().max(100_000).optional() }),
};

/** A form as it comes back. Nobody has looked at what is in it. */
interface Answered {
  readonly action: 'accept' | 'decline' | 'cancel';
  readonly content?: Readonly<Record<string, unknown>>;
}

/** What the person said, as an answer to the approval; null where it is left as it is, which a form that is not filled in as asked is, too. */
export function answerOf({ kind, form }: Pick<Approval, 'kind' | 'form'>, { action, content = {} }: Answered): ApprovalAnswer | null {
  if (action === 'cancel') return null;
  if (action === 'decline') return kind === 'unknown_outcome' ? null : { decision: 'deny' };
  switch (kind) {
    case 'tool_call': {
      const { data } = answerSchemas.tool_call.safeParse(content);
      return data === undefined ? null : { decision: 'approve', ...(data.note ? { note: data.note } : {}) };
    }
    case 'question': {
      if (form !== undefined) return { decision: 'answer', content: { ...content } };
      const { data } = answerSchemas.question.safeParse(content);
      return data === undefined ? null : { decision: 'answer', result: data.answer };
    }
    case 'unknown_outcome': {
      const { data } = answerSchemas.unknown_outcome.safeParse(content);
      if (data === undefined) return null;
      return { decision: data.decision, ...(data.decision === 'done' && data.result ? { result: data.result } : {}) };
    }
  }
}
