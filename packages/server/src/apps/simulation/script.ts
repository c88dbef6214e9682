import { z } from 'zod';
import type { ModelRequest } from '#llm';

const Turn = z.object({
  /** Tokens of text. */
  say: z.int().min(0),
  calls: z.array(z.object({ name: z.string(), input: z.record(z.string(), z.unknown()) })),
});
/** What a model does when it is asked: it stands in the message that asks, so that it is the same wherever and however often it is asked. */
export const Script = z.object({ name: z.string(), turns: z.array(Turn).min(1) });
export type Script = z.infer<typeof Script>;
export type Turn = z.infer<typeof Turn>;

const lastTurn: Turn = { say: 3, calls: [] };

/** Where a conversation is in the script of its last message: one that is over goes on with a few words. */
export function turnOf({ messages }: Pick<ModelRequest, 'messages'>): {
  readonly script: string;
  readonly index: number;
  readonly turn: Turn;
} {
  const asked = messages.findLastIndex(({ role }) => role === 'user');
  const message = messages[asked];
  const said = message?.role === 'user' ? message.content.map((part) => (part.type === 'text' ? part.text : '')).join('') : '';
  const index = messages.slice(asked + 1).filter(({ role }) => role === 'assistant').length;
  const script = readScript(said);
  return { script: script?.name ?? 'none', index, turn: script?.turns[index] ?? lastTurn };
}

/** The name of the script in what was said; `none` where there is none. */
export const nameOfScript = (said: string): string => readScript(said)?.name ?? 'none';

function readScript(said: string): Script | null {
  const from = said.indexOf('{');
  if (from < 0) return null;
  try {
    return Script.parse(JSON.parse(said.slice(from)));
  } catch {
    return null; // a summary, or a question of the platform's own
  }
}
