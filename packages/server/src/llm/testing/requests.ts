import type { ModelRequest } from '#llm/contract';

export function makeRequest(text: string, changes: Partial<ModelRequest> = {}): ModelRequest {
  return {
    system: 'You help.',
    messages: [{ role: 'user', content: [{ type: 'text', text }] }],
    tools: [],
    maxOutputTokens: 1_000,
    idempotencyKey: 'key-1',
    ...changes,
  };
}
