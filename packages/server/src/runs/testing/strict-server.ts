import type { Message } from '@nexus-agent/protocol';

/** What a server that is as strict as they come has against a conversation; nothing when it takes it. */
export function faultsOf(messages: readonly Message[]): readonly string[] {
  const faults: string[] = [];
  if (messages[0]?.role !== 'user') faults.push('the first message is not a person’s');
  if (messages.at(-1)?.role === 'assistant') faults.push('the last message is the assistant’s');
  messages.forEach((message, index) => {
    const before = messages[index - 1];
    const next = messages[index + 1];
    const fault = (text: string) => faults.push(`message ${index}: ${text}`);
    if (before?.role === message.role) fault(`two of ${message.role} in a row`);
    if (message.content.length === 0) fault('it is empty');
    for (const part of message.content) if (part.type === 'text' && part.text.trim() === '') fault('a text is blank');
    if (message.role === 'assistant') {
      const asked = message.content.flatMap((part) => (part.type === 'tool_call' ? [part.providerCallId] : []));
      const given = next?.role === 'tool' ? next.content.map((part) => part.providerCallId) : [];
      if (JSON.stringify(asked) !== JSON.stringify(given)) fault(`calls ${asked.join()} and results ${given.join()}`);
      if (message.content.every((part) => part.type === 'reasoning')) fault('the assistant says nothing');
    }
    if (message.role === 'tool' && before?.role !== 'assistant') fault('results without calls');
    if (message.role === 'user' && before?.role === 'tool') fault('a person speaks between the results and the assistant');
  });
  return faults;
}
