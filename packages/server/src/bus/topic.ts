import type { Bus } from './contract.ts';

/** What says whether a value is a message: a schema of zod or zod/mini, or a guard by hand in the same form. */
export interface MessageSchema<T> {
  safeParse(value: unknown): { readonly success: true; readonly data: T } | { readonly success: false };
}

/** A topic whose messages are values. */
export interface Topic<T> {
  publish(message: T): void;
  /**
   * Calls the listener with each message that can be read. One that cannot (another version of the program, another
   * program) is dropped, as if it had been lost on the way. Returns how to end it.
   */
  subscribe(listener: (message: T) => void): () => void;
}

/** Topics whose messages are values of one kind: `<name>:<key>` for each key. */
export interface Topics<T> {
  publish(key: string, message: T): void;
  /** See {@link Topic}. */
  subscribe(key: string, listener: (message: T) => void): () => void;
}

type Wire = Pick<Bus, 'publish' | 'subscribe'>;

/** The named topic of a bus: messages travel as JSON, and come from other processes, so that each is parsed. */
export function openTopic<T>(bus: Wire, name: string, schema: MessageSchema<T>): Topic<T> {
  return {
    publish: (message) => bus.publish(name, JSON.stringify(message)),
    subscribe: (listener) => bus.subscribe(name, reader(schema, listener)),
  };
}

/** The same for topics that are many, as each run has one. */
export function openTopics<T>(bus: Wire, name: string, schema: MessageSchema<T>): Topics<T> {
  return {
    publish: (key, message) => bus.publish(`${name}:${key}`, JSON.stringify(message)),
    subscribe: (key, listener) => bus.subscribe(`${name}:${key}`, reader(schema, listener)),
  };
}

function reader<T>(schema: MessageSchema<T>, listener: (message: T) => void): (text: string) => void {
  return (text) => {
    const read = schema.safeParse(parseJson(text));
    if (read.success) listener(read.data);
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no message of any topic: JSON has no such value
  }
}
