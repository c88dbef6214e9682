import type { FinishReason } from '@nexus-agent/protocol';

/** Words of both formats, and of the servers that speak one of them and mean the other. */
const meanings: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  eos: 'stop',
  eos_token: 'stop',
  end: 'stop',
  complete: 'stop',
  completed: 'stop',
  finished: 'stop',
  done: 'stop',
  success: 'stop',
  length: 'length',
  max_tokens: 'length',
  max_length: 'length',
  max_output_tokens: 'length',
  max_completion_tokens: 'length',
  max_new_tokens: 'length',
  model_length: 'length',
  model_context_window_exceeded: 'length',
  tool_calls: 'tool_calls',
  tool_call: 'tool_calls',
  tool_use: 'tool_calls',
  function_call: 'tool_calls',
  content_filter: 'content_filter',
  refusal: 'content_filter',
  safety: 'content_filter',
  sensitive: 'content_filter',
  recitation: 'content_filter',
  prohibited_content: 'content_filter',
  blocklist: 'content_filter',
};

/** The meaning of a reason for which an answer ended; null for one that nobody knows, or that is no end of an answer. */
export function readFinishReason(word: string): FinishReason | null {
  const known = word.toLowerCase();
  return Object.hasOwn(meanings, known) ? (meanings[known] ?? null) : null;
}

/** Whether it ended for calls is told by the calls: servers say "stop" with them, and "tool_calls" without. */
export function fitFinishReason(reason: FinishReason, calling: boolean): FinishReason {
  if (reason === 'stop' || reason === 'tool_calls') return calling ? 'tool_calls' : 'stop';
  return reason;
}
