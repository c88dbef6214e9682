import { describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { createModelList, firstChatModel, isListed, readModelList } from './model-list.ts';

const listing = (...ids: string[]) => ({ data: ids.map((id) => ({ id })) });

describe('a list of models', () => {
  it.each([
    ['vLLM', { id: 'm', max_model_len: 8_192 }],
    ['OpenRouter', { id: 'm', context_length: 8_192 }],
    ['Groq', { id: 'm', context_window: 8_192 }],
    ['Mistral', { id: 'm', max_context_length: 8_192 }],
  ])('has the size that a model is served with, as %s names it', (_who, model) => {
    expect(readModelList({ data: [model] })).toEqual([{ id: 'm', contextTokens: 8_192 }]);
  });

  it('has no size where it is none, nor models without a name', () => {
    expect(readModelList({ data: [{ id: 'm', context_length: '8k' }, { id: '' }, 7, null] })).toEqual([{ id: 'm' }]);
  });

  it('is asked for once by all who wait for it, and again soon when it could not be had', async () => {
    const clock = createManualClock(0);
    const answers: (unknown | Error)[] = [new Error('not started yet'), listing('a'), listing('b')];
    let asked = 0;
    const list = createModelList(async () => {
      const answer = answers[asked++];
      if (answer instanceof Error) throw answer;
      return answer;
    }, clock);
    expect(list.known()).toBeNull();
    expect(await Promise.all([list.read(), list.read()])).toEqual([[], []]);
    expect([asked, list.known()]).toEqual([1, null]);
    clock.advance(2_001);
    expect(await list.read()).toEqual([{ id: 'a' }]);
    clock.advance(59_000);
    expect(await list.read()).toEqual([{ id: 'a' }]);
    expect(asked).toBe(2);
    clock.advance(2_000);
    expect(await list.read()).toEqual([{ id: 'b' }]);
  });

  it('keeps what a server said when it says nothing any more', async () => {
    const clock = createManualClock(0);
    let works = true;
    const list = createModelList(async () => {
      if (!works) throw new Error('down');
      return listing('a');
    }, clock);
    await list.read();
    works = false;
    clock.advance(70_000);
    expect(await list.read()).toEqual([{ id: 'a' }]);
  });

  it('is looked through for what one can talk to', () => {
    expect(firstChatModel(readModelList(listing('nomic-embed-text', 'whisper-1', 'bge-m3', 'qwen3:latest')))).toBe('qwen3:latest');
    expect(firstChatModel([])).toBeNull();
    expect(isListed(readModelList(listing('qwen3:latest')), 'qwen3')).toBe(true);
    expect(isListed(readModelList(listing('qwen3:8b')), 'qwen3')).toBe(false);
  });
});
