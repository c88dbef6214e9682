import { isObject, NexusError } from '#core';
import type { ToolResult } from '#tools/contract';

/** What the model reads of the result of a tool. Pictures and sounds are named, not shown. */
export function mcpResult(answer: unknown): ToolResult {
  if (!isObject(answer)) return unreadable();
  if (answer.resultType === 'input_required') {
    const message = 'the MCP server asks for input in the midst of the call, and nobody can be asked here';
    return { type: 'error', error: new NexusError('tool_failed', message).toInfo() };
  }
  const parts = Array.isArray(answer.content) ? answer.content.map(partText) : [];
  const text = parts.join('\n');
  const { structuredContent } = answer;
  const isStructured = text === '' && structuredContent !== undefined;
  if (isStructured && isObject(structuredContent) && answer.isError !== true) return { type: 'ok', output: structuredContent };
  const output = isStructured ? JSON.stringify(structuredContent) : text;
  if (answer.isError !== true) return { type: 'ok', output };
  const message = output === '' ? 'the tool of the MCP server failed and says nothing more' : output;
  return { type: 'error', error: new NexusError('tool_failed', message).toInfo() };
}

/** What the model reads of a resource. */
export function resourceText(answer: unknown): ToolResult {
  if (!isObject(answer) || !Array.isArray(answer.contents)) return unreadable();
  return { type: 'ok', output: answer.contents.map(contentsText).join('\n') };
}

/** The messages of a prompt, as they would be said. */
export function promptText(answer: unknown): ToolResult {
  if (!isObject(answer) || !Array.isArray(answer.messages)) return unreadable();
  const messages = answer.messages.map((message: unknown) =>
    isObject(message) ? `${textOf(message.role, 'unknown')}: ${partText(message.content)}` : '',
  );
  return { type: 'ok', output: messages.join('\n\n') };
}

function partText(part: unknown): string {
  if (!isObject(part)) return '';
  switch (part.type) {
    case 'text':
      return textOf(part.text);
    case 'image':
    case 'audio':
      return `[${part.type} ${textOf(part.mimeType, 'of an unknown type')}, ${decodedBytes(part.data)} bytes, not shown]`;
    case 'resource':
      return contentsText(part.resource);
    case 'resource_link':
      return `[resource ${textOf(part.uri)}: ${textOf(part.title ?? part.name)}]`;
    default:
      return '[a part of a kind that is not known]';
  }
}

function contentsText(contents: unknown): string {
  if (!isObject(contents)) return '';
  if (typeof contents.text === 'string') return contents.text;
  return `[${textOf(contents.mimeType, 'binary data')} at ${textOf(contents.uri)}, ${decodedBytes(contents.blob)} bytes, not shown]`;
}

function textOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : otherwise;
}

/** Of base64. */
function decodedBytes(value: unknown): number {
  return typeof value === 'string' ? Math.floor((value.length * 3) / 4) : 0;
}

function unreadable(): ToolResult {
  return {
    type: 'error',
    error: new NexusError('tool_failed', 'the MCP server answered with something that is no result of this call').toInfo(),
  };
}
