import type { ChatRequest } from '@nexus-agent/protocol';

/** A run of three model turns, each with text, and two rounds of two parallel tools of which the first ends before the second. */
export function probeRequest(name: string, waitMs = 30): ChatRequest {
  return {
    agent: 'prober',
    input: `${name}
[[sim say="First a look at both of them." tools=probe_read(name="a1"),probe_put(name="b1",waitMs=${waitMs})]]
[[sim say="And then at the other two." tools=probe_read(name="a2"),probe_put(name="b2",waitMs=${waitMs})]]
[[sim say="All of it is done: {{results}}"]]`,
    budget: { costMicroUsd: 1_000_000, tokens: 1_000_000, toolCalls: 100 },
  };
}

/** The answer of {@link probeRequest} when nothing disturbs it. */
export const probeAnswer = 'All of it is done: a1 done\nb1 done\na2 done\nb2 done';
