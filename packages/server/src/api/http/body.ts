import type { IncomingMessage } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { setImmediate } from 'node:timers/promises';
import { TextPieces } from '@nexus-agent/protocol';
import { maxJsonDepth, NexusError } from '#core';

export interface BodyLimits {
  readonly bytes: number;
  /** Items, members, lists and objects: what is dear to parse and to check. */
  readonly values: number;
}

/** More than a message of the longest text has when all of it is escaped. To undo one takes longer than to copy many characters. */
const maxEscapes = 1_500_000;
/** No number that can be told apart from others has so many digits, and reading them takes time. */
const maxDigits = 1_000;

/**
 * The JSON of a request; undefined when it has no body. It is looked through and decoded piece by piece as it arrives, so that nothing
 * but its parsing takes time at once, and ends with the first piece that makes it more than its endpoint takes.
 */
export async function readJson(request: IncomingMessage, limits: BodyLimits): Promise<unknown> {
  if (Number(request.headers['content-length'] ?? 0) > limits.bytes) throw tooLarge(limits);
  const survey = new JsonSurvey(limits);
  const decoder = new StringDecoder('utf8');
  const pieces = new TextPieces('');
  await new Promise<void>((resolve, reject) => {
    const leave = (error?: Error) => {
      request.off('data', take).off('end', leave).off('error', gone).off('close', gone);
      if (error === undefined) return resolve();
      request.resume(); // what still comes is not looked at
      reject(error);
    };
    const gone = () => leave(new NexusError('cancelled', 'the client went away before its request had arrived'));
    const take = (piece: Buffer) => {
      const refusal = survey.add(piece);
      if (refusal !== null) return leave(refusal);
      pieces.add(decoder.write(piece));
    };
    request.on('data', take).on('end', leave).on('error', gone).on('close', gone);
  });
  pieces.add(decoder.end());
  const text = pieces.text().replace(/^\uFEFF/, '');
  if (text === '') return undefined;
  if (survey.isLarge) await setImmediate();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new NexusError('invalid_request', 'the body is not valid JSON');
  }
  if ((survey.escapes > 0 || /__proto__|constructor/.test(text)) && namesPrototype(value)) {
    throw new NexusError('invalid_request', 'the body is not valid JSON: `__proto__` and `constructor.prototype` are no names');
  }
  return value;
}

function tooLarge({ bytes }: BodyLimits): NexusError {
  return new NexusError('payload_too_large', `the body is larger than the ${bytes} bytes that are taken here`);
}

/** From so many bytes on, others may have their turn before it is parsed. */
const largeBytes = 256 * 1024;

/** What the pieces of a JSON text hold, without reading it. */
class JsonSurvey {
  readonly #limits: BodyLimits;
  #bytes = 0;
  #values = 1;
  #depth = 0;
  #digits = 0;
  #inText = false;
  #escaped = false;
  escapes = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  get isLarge(): boolean {
    return this.#bytes > largeBytes;
  }

  /** Null as long as all of it may be taken. */
  add(piece: Uint8Array): NexusError | null {
    this.#bytes += piece.length;
    if (this.#bytes > this.#limits.bytes) return tooLarge(this.#limits);
    for (const byte of piece) {
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === 0x5c) {
          this.#escaped = true;
          this.escapes += 1;
        } else if (byte === 0x22) this.#inText = false;
      } else if (byte >= 0x30 && byte <= 0x39) {
        this.#digits += 1;
        if (this.#digits > maxDigits) return new NexusError('invalid_request', `a number in the body has more than ${maxDigits} digits`);
      } else {
        this.#digits = 0;
        if (byte === 0x22) this.#inText = true;
        else if (byte === 0x2c) this.#values += 1;
        else if (byte === 0x5b || byte === 0x7b) {
          this.#values += 1;
          this.#depth += 1;
          if (this.#depth > maxJsonDepth) return new NexusError('invalid_request', `the body nests deeper than ${maxJsonDepth} levels`);
        } else if (byte === 0x5d || byte === 0x7d) this.#depth -= 1;
      }
    }
    if (this.#values > this.#limits.values) {
      return new NexusError('payload_too_large', `the body has more than the ${this.#limits.values} values that are taken here`);
    }
    if (this.escapes > maxEscapes) {
      return new NexusError(
        'payload_too_large',
        `the body has more than ${maxEscapes} escaped characters; send them as they are, in UTF-8`,
      );
    }
    return null;
  }
}

/** Whether a name is one that objects of JavaScript give another meaning. */
function namesPrototype(root: unknown): boolean {
  const left: unknown[] = [root];
  for (let value = left.pop(); value !== undefined; value = left.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    if (Object.hasOwn(value, '__proto__')) return true;
    if (Object.hasOwn(value, 'constructor')) {
      const { constructor: named } = value as Record<string, unknown>; // a member of its own
      if (typeof named === 'object' && named !== null && Object.hasOwn(named, 'prototype')) return true;
    }
    for (const item of Array.isArray(value) ? value : Object.values(value)) if (typeof item === 'object' && item !== null) left.push(item);
  }
  return false;
}
