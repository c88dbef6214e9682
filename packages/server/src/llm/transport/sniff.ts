/** What the body of an answer is: an event stream, JSON in one piece, or neither. */
export type BodyKind = 'stream' | 'document' | 'foreign';

/** The shortest beginning that tells an event stream from other text: `event:`, `retry:`. */
const tellingBytes = 6;

/**
 * What begins like this, without blanks. The content type is only asked where the bytes leave it open: servers and proxies send
 * streams and documents under each other's, and under none. Null: too short to tell, unless it `ended`.
 */
export function sniffBody(head: Uint8Array, contentType: string, ended: boolean): BodyKind | null {
  const begin = Buffer.from(head.subarray(0, tellingBytes)).toString('latin1');
  if (begin === '' && !ended) return null;
  if (/^[{[]/.test(begin)) return 'document';
  if (begin.startsWith('<')) return 'foreign';
  const type = contentType.toLowerCase();
  if (type === '' || type.startsWith('text/event-stream')) return 'stream';
  if (begin.length < tellingBytes && !begin.startsWith(':') && !ended) return null;
  if (/^(data|event|id|retry|):/.test(begin)) return 'stream';
  return begin !== '' && type.includes('json') ? 'document' : 'foreign';
}

/** Without a byte order mark and white space at the start: some servers send lines of it while they think. */
export function withoutBlank(head: Buffer): Buffer {
  let at = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
  while (head[at] === 0x20 || head[at] === 0x09 || head[at] === 0x0a || head[at] === 0x0d) at += 1;
  return head.subarray(at);
}
