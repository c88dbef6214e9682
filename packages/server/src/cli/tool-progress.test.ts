import type { WireEvent } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { createToolProgress } from './tool-progress.ts';

const output = (text: string, callId = 'a') => ({ type: 'tool.output', data: { step: 1, callId, text } }) as WireEvent;
const ended = (callId = 'a') => ({ type: 'tool.completed', data: { callId } }) as unknown as WireEvent;

describe('what a tool prints while it runs', () => {
  it('is shown line by line, however it was cut, and the rest of it at the end [verifies cli.progress]', () => {
    const progress = createToolProgress();
    expect(progress(output('loo'))).toEqual([]);
    expect(progress(output('two', 'b'))).toEqual([]);
    expect(progress(output('king\n\nfound\nrea'))).toEqual(['    ┊ looking', '    ┊ found']);
    expect(progress(ended('b'))).toEqual(['    ┊ two']);
    expect(progress(ended())).toEqual(['    ┊ rea']);
    expect(progress(ended())).toEqual([]);
  });

  it('is shown up to a bound, and says so once [verifies cli.progress]', () => {
    const progress = createToolProgress();
    const first = progress(output('x\n'.repeat(99)));
    expect(first).toHaveLength(99);
    expect(progress(output('x\ny\nz\n'))).toEqual(['    ┊ x', '    ┊ … it prints more']);
    expect(progress(output('more\n'))).toEqual([]);
    expect(progress(output('x'.repeat(100_000), 'c'))).toEqual([]);
    expect(progress(ended('c'))[0]?.length).toBeLessThan(500);
  });
});
