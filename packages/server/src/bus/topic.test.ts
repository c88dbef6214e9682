import { expect, it } from 'vitest';
import { z } from 'zod';
import { type MessageSchema, openTopic, openTopics } from './topic.ts';

const Wake = z.object({ runId: z.string(), cancel: z.string().optional() });

/** A bus of one process, whose wire the test can write on. */
function createWire() {
  const listeners = new Map<string, (message: string) => void>();
  return {
    publish: (topic: string, message: string) => listeners.get(topic)?.(message),
    subscribe(topic: string, listener: (message: string) => void) {
      listeners.set(topic, listener);
      return () => void listeners.delete(topic);
    },
  };
}

it('delivers what was published as it was, until the subscription ends', () => {
  const topic = openTopic(createWire(), 'wake', Wake);
  const heard: unknown[] = [];
  const end = topic.subscribe((message) => heard.push(message));
  topic.publish({ runId: 'a' });
  topic.publish({ runId: 'b', cancel: 'stop' });
  end();
  topic.publish({ runId: 'c' });
  expect(heard).toEqual([{ runId: 'a' }, { runId: 'b', cancel: 'stop' }]);
});

it('drops what it cannot read and goes on', () => {
  const wire = createWire();
  const heard: unknown[] = [];
  openTopic(wire, 'wake', Wake).subscribe((message) => heard.push(message));
  for (const text of ['', '{', 'null', '[]', '{"runId":7}', '{"runId":"a","later":{}}']) wire.publish('wake', text);
  expect(heard).toEqual([{ runId: 'a' }]);
});

it('takes a guard written by hand as a schema', () => {
  const wire = createWire();
  const schema: MessageSchema<number> = {
    safeParse: (value) => (typeof value === 'number' ? { success: true, data: value } : { success: false }),
  };
  const heard: number[] = [];
  openTopic(wire, 'n', schema).subscribe((message) => heard.push(message));
  wire.publish('n', '"x"');
  wire.publish('n', '7');
  expect(heard).toEqual([7]);
});

it('keeps the topics of different keys apart', () => {
  const runs = openTopics(createWire(), 'run', Wake);
  const heard: string[] = [];
  runs.subscribe('a', ({ runId }) => heard.push(`a ${runId}`));
  runs.subscribe('b', ({ runId }) => heard.push(`b ${runId}`));
  runs.publish('b', { runId: '1' });
  runs.publish('a', { runId: '2' });
  runs.publish('c', { runId: '3' });
  expect(heard).toEqual(['b 1', 'a 2']);
});
