import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createStage } from './stage.ts';
import { columns, wrap } from './words.ts';

function printed(use: (stage: ReturnType<typeof createStage>) => void): string {
  const parts: string[] = [];
  use(createStage({ out: (text) => parts.push(text), style: (_, text) => text }));
  return parts.join('');
}

const prose = fc
  .array(fc.constantFrom('a', 'word', 'considerable', 'x'.repeat(40), ' ', ' ', '  ', '\n'), { maxLength: 120 })
  .map((parts) => parts.join(''));

it('prints streamed text alike however it is cut', () => {
  fc.assert(
    fc.property(prose, fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (text, sizes) => {
      const whole = printed((stage) => {
        const speech = stage.speech();
        speech.write(text);
        speech.end();
      });
      const pieces = printed((stage) => {
        const speech = stage.speech();
        for (let at = 0; at < text.length; ) {
          const size = sizes.next().value ?? 1;
          speech.write(text.slice(at, at + size));
          at += size;
        }
        speech.end();
      });
      expect(pieces).toBe(whole);
      const words = (value: string) => value.split(/[\s│]+/).filter((word) => word !== '');
      expect(words(whole)).toEqual(words(text));
    }),
  );
});

it('wraps streamed text at words and leaves no space at the end of a line', () => {
  const text = printed((stage) => {
    const speech = stage.speech();
    speech.write('one of many words '.repeat(30));
    speech.end();
  });
  for (const line of text.split('\n')) {
    expect(line.length).toBeLessThanOrEqual(columns);
    expect(line).not.toMatch(/\S\s+$/);
  }
});

it('takes what moves the cursor out of streamed text', () => {
  const text = printed((stage) => {
    const speech = stage.speech();
    speech.write('a\u001b[2Jb\u0007c\rd');
    speech.end();
  });
  expect(text).toBe('    │ a[2Jbcd\n');
});

it('wraps text without losing a word', () => {
  expect(wrap('aa bb cc\ndd', 5)).toEqual(['aa bb', 'cc', 'dd']);
  expect(wrap('a-very-long-word b', 5)).toEqual(['a-very-long-word', 'b']);
});
