import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Bus } from '../../packages/server/src/bus/index.ts';

export interface BusSubject {
  /** A bus as one process opens it. All that are open at one time stand for processes of one deployment. */
  open(): Promise<Bus>;
}

/** What every {@link Bus} must do. */
export function describeBus(name: string, subject: BusSubject): void {
  describe(`bus: ${name}`, () => {
    const buses: Bus[] = [];
    afterEach(async () => {
      await Promise.all(buses.splice(0).map((bus) => bus.close()));
    });
    const open = async () => {
      const bus = await subject.open();
      buses.push(bus);
      return bus;
    };
    /** Waits until messages from `sender` arrive at `receiver`: a subscription may take a moment to reach the server. */
    const connected = async (sender: Bus, receiver: Bus, topic: string) => {
      let arrived = false;
      const end = receiver.subscribe(topic, () => {
        arrived = true;
      });
      await vi.waitFor(() => {
        sender.publish(topic, 'ping');
        expect(arrived).toBe(true);
      }, 5000);
      return end;
    };

    it('delivers to the listeners of the topic, in order, and to no other', async () => {
      const bus = await open();
      const heard: string[] = [];
      bus.subscribe('a', (message) => heard.push(`1 ${message}`));
      bus.subscribe('a', (message) => heard.push(`2 ${message}`));
      bus.subscribe('b', (message) => heard.push(`3 ${message}`));
      bus.publish('a', 'x');
      bus.publish('a', 'y');
      await vi.waitFor(() => expect(heard).toEqual(['1 x', '2 x', '1 y', '2 y']));
    });

    it('stops delivering after the subscription has ended', async () => {
      const bus = await open();
      const heard: string[] = [];
      const listener = (message: string) => heard.push(message);
      const end = bus.subscribe('a', listener);
      bus.subscribe('a', listener);
      end();
      end();
      bus.publish('a', 'x');
      await vi.waitFor(() => expect(heard).toEqual(['x']));
    });

    it('goes on after a listener has thrown', async () => {
      const bus = await open();
      const heard: string[] = [];
      bus.subscribe('a', () => {
        throw new Error('broken listener');
      });
      bus.subscribe('a', (message) => heard.push(message));
      bus.publish('a', 'x');
      await vi.waitFor(() => expect(heard).toEqual(['x']));
    });

    it('delivers a message to those who listened when it was published, whatever they do when they hear it', async () => {
      const bus = await open();
      const heard: string[] = [];
      const renew = (message: string) => {
        heard.push(message);
        if (heard.length > 10) throw new Error('it goes round and round');
        end();
        end = bus.subscribe('a', renew);
      };
      let end = bus.subscribe('a', renew);
      const endOther = bus.subscribe('a', () => {
        heard.push('other');
        endLast();
      });
      const endLast = bus.subscribe('a', () => heard.push('last'));
      bus.publish('a', 'x');
      await vi.waitFor(() => expect(heard).toEqual(['x', 'other']));
      endOther();
      bus.publish('a', 'y');
      await vi.waitFor(() => expect(heard).toEqual(['x', 'other', 'y']));
      end();
    });

    it('delivers each message once and in order to another process, if it spans processes', async () => {
      const sender = await open();
      const receiver = await open();
      if (!sender.spansProcesses) return;
      const topic = `t${Math.random()}`;
      (await connected(sender, receiver, topic))();
      const heard: string[] = [];
      const end = await connected(sender, receiver, topic);
      receiver.subscribe(topic, (message) => heard.push(message));
      const sent = Array.from({ length: 500 }, (_, index) => `${index} \u{1f600} "'\\`);
      for (const message of sent) sender.publish(topic, message);
      await vi.waitFor(() => expect(heard.filter((message) => message !== 'ping')).toEqual(sent), 5000);
      end();
    });

    it('delivers messages that are alike as often as they were sent, also to another process', async () => {
      const sender = await open();
      const receiver = await open();
      if (!sender.spansProcesses) return;
      const topic = `t${Math.random()}`;
      await connected(sender, receiver, topic);
      const heard: string[] = [];
      receiver.subscribe(topic, (message) => heard.push(message));
      const sent = ['.', '.', '.', 'a', '.', 'end'];
      for (const message of sent) sender.publish(topic, message);
      await vi.waitFor(() => expect(heard.at(-1)).toBe('end'), 5000);
      expect(heard.filter((message) => message !== 'ping')).toEqual(sent);
    });

    it('takes a message of a megabyte without harm to those that follow', async () => {
      const sender = await open();
      const receiver = await open();
      if (!sender.spansProcesses) return;
      const topic = `t${Math.random()}`;
      await connected(sender, receiver, topic);
      const heard: number[] = [];
      receiver.subscribe(topic, (message) => heard.push(message.length));
      sender.publish(topic, 'x'.repeat(1_000_000));
      sender.publish(topic, 'last');
      await vi.waitFor(() => expect(heard.at(-1)).toBe(4), 5000);
    });
  });
}
