import { dictionary, type ErrorInfo, errorTable, type Problem } from '@nexus-agent/protocol';
import { cutText } from './text.ts';

/** An error value as the RFC 9457 body that clients are shown. `instance` names this occurrence, such as the request's id. */
export function toProblem(info: ErrorInfo, instance?: string): Problem {
  const entry = errorTable[info.code];
  return boundProblem({
    type: `urn:nexus-agent:error:${info.code}`,
    title: entry.title,
    status: entry.httpStatus,
    detail: info.message,
    code: info.code,
    ...(instance === undefined ? {} : { instance }),
    retryable: info.retryable ?? entry.retryable,
    ...(info.details === undefined ? {} : { details: info.details }),
  });
}

/** Of the answer as it is sent. What made a request wrong may be as large as the request. */
const maxBytes = 16 * 1024;
const maxDetailBytes = 4 * 1024;
const maxListed = 50;
const maxDepth = 8;
/** Of a text with so many characters, whatever they are, less is left than of `maxBytes`. */
const maxTextChars = 1_000;

/** The problem with as much of its words and details as fits into 16 KB; whoever reads it is told that there was more. */
function boundProblem(problem: Problem): Problem {
  const { details, ...rest } = problem;
  const room = { bytes: maxBytes - 512 };
  const bounded = { ...rest, title: boundText(rest.title, room), detail: boundText(rest.detail, room, maxDetailBytes) };
  if (rest.instance !== undefined) bounded.instance = boundText(rest.instance, room);
  return details === undefined ? bounded : { ...bounded, details: boundMembers(details, room, 0) };
}

interface Room {
  bytes: number;
}

function boundText(text: string, room: Room, most = maxTextChars): string {
  let kept = cutText(text, Math.max(0, Math.min(most, room.bytes)));
  for (let bytes = bytesOf(kept); bytes > room.bytes && kept !== ''; bytes = bytesOf(kept))
    kept = cutText(kept, Math.floor(kept.length / 2));
  if (kept.length < text.length) kept += '…';
  room.bytes -= bytesOf(kept);
  return kept;
}

function bytesOf(text: string): number {
  return Buffer.byteLength(JSON.stringify(text));
}

function boundValue(value: unknown, room: Room, depth: number): unknown {
  room.bytes -= 8;
  if (typeof value === 'string') return boundText(value, room);
  if (typeof value !== 'object' || value === null) {
    room.bytes -= 24;
    return value;
  }
  if (depth >= maxDepth) return '…';
  if (!Array.isArray(value)) return boundMembers(value, room, depth + 1);
  const items: unknown[] = [];
  for (const item of value) {
    if (items.length >= maxListed || room.bytes <= 0) return [...items, '…'];
    items.push(boundValue(item, room, depth + 1));
  }
  return items;
}

function boundMembers(value: object, room: Room, depth: number): Record<string, unknown> {
  const members: Record<string, unknown> = dictionary({});
  let count = 0;
  for (const name in value) {
    if (!Object.hasOwn(value, name)) continue;
    if (count >= maxListed || room.bytes <= 0) {
      members['…'] = 'more';
      break;
    }
    count += 1;
    members[boundText(name, room, 100)] = boundValue((value as Record<string, unknown>)[name], room, depth); // any object can be read by key
  }
  return members;
}
