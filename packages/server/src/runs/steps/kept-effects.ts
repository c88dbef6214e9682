import type { EffectsClass, Message, ToolCallPart } from '@nexus-agent/protocol';
import { cutText } from '#core';
import { estimateTextTokens } from '#llm';

/** Stands in a summary before the calls that are kept in it. */
const heading = 'Calls that were made, as they were recorded; do not make them again because they are not told above:';
const earlier = '- further calls before these: ';
const maxInputChars = 160;
const maxOutputChars = 80;

/** A summary as the model wrote it, and the calls that are kept beside it. */
export function splitSummary(text: string): { readonly said: string; readonly kept: string } {
  const at = text.lastIndexOf(`\n${heading}\n`);
  return at === -1 ? { said: text, kept: '' } : { said: text.slice(0, at).trimEnd(), kept: text.slice(at + 1) };
}

/** A summary with the calls that are kept: those that the model copied are not told twice. */
export function joinSummary(said: string, kept: string): string {
  const own = said.split(heading)[0]?.trimEnd() ?? '';
  return kept === '' ? own : `${own}\n\n${kept}`;
}

/**
 * What a summary of the messages must say whatever its model leaves out: each call with an effect, with how it ended. Where they do not
 * have room, the oldest are counted, those that may be made again before those that may not.
 *
 * @param before what the summary keeps that these messages come after
 * @param effectsOf undefined for a tool that is not there any more
 */
export function keptEffects(
  messages: readonly Message[],
  before: string,
  effectsOf: (tool: string) => EffectsClass | undefined,
  maxTokens: number,
): string {
  const lines = new Set(before.split('\n').filter((line) => line.startsWith('- ') && !line.startsWith(earlier)));
  for (const line of messages.flatMap((message, index) => linesOf(message, messages[index + 1], effectsOf))) lines.add(line);
  const counts = countsIn(before);
  const shown = [...lines];
  const order = [...shown.filter((line) => effectsOf(toolOf(line)) === 'idempotent'), ...shown];
  const dropped = new Set<string>();
  const written = () => {
    const head = counts.size === 0 ? [] : [`${earlier}${[...counts].map(([tool, count]) => `${tool} (${count})`).join(', ')}`];
    return [heading, ...head, ...shown.filter((line) => !dropped.has(line))].join('\n');
  };
  if (shown.length + counts.size === 0) return '';
  let left = estimateTextTokens(written());
  for (const line of order) {
    if (left <= maxTokens) break;
    if (dropped.has(line)) continue;
    dropped.add(line);
    counts.set(toolOf(line), (counts.get(toolOf(line)) ?? 0) + 1);
    left -= estimateTextTokens(line);
  }
  return written();
}

function linesOf(message: Message, next: Message | undefined, effectsOf: (tool: string) => EffectsClass | undefined): string[] {
  if (message.role !== 'assistant') return [];
  const calls = message.content.filter((part): part is ToolCallPart => part.type === 'tool_call');
  const results = next?.role === 'tool' ? next.content : [];
  return calls.flatMap((call, index) => {
    if (effectsOf(call.name) === 'none') return [];
    const output = results[index]?.output ?? 'not known';
    return [`- ${oneLine(call.name, 64)} ${oneLine(JSON.stringify(call.input) ?? '', maxInputChars)}: ${oneLine(output, maxOutputChars)}`];
  });
}

function oneLine(text: string, maxChars: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > maxChars ? `${cutText(line, maxChars)}…` : line;
}

function toolOf(line: string): string {
  return line.split(' ')[1] ?? '';
}

function countsIn(kept: string): Map<string, number> {
  const line = kept.split('\n').find((candidate) => candidate.startsWith(earlier)) ?? '';
  return new Map([...line.slice(earlier.length).matchAll(/(\S+) \((\d+)\)/g)].map(([, tool = '', count]) => [tool, Number(count)]));
}
