/** What a tool said while it ran. `afterSeq` is the newest event of the run at that time. */
export interface ToolOutput {
  readonly number: number;
  readonly afterSeq: number;
  readonly step: number;
  readonly callId: string;
  readonly text: string;
}

export interface OutputRing {
  /** Number of the newest output; a reader begins after it, for earlier ones are not kept for it. */
  readonly last: number;
  add(output: Omit<ToolOutput, 'number'>): void;
  after(number: number): readonly ToolOutput[];
}

/** The newest outputs of a run, at most `maxChars` of them beside the newest one: progress is shown to who looks on, and kept for nobody. */
export function createOutputRing(maxChars: number): OutputRing {
  let kept: ToolOutput[] = [];
  let chars = 0;
  let last = 0;
  return {
    get last() {
      return last;
    },
    add(output) {
      last += 1;
      kept.push({ ...output, number: last });
      chars += output.text.length;
      let drop = 0;
      while (drop < kept.length - 1 && chars > maxChars) chars -= kept[drop++]?.text.length ?? 0;
      if (drop > 0) kept = kept.slice(drop);
    },
    after: (number) => (number >= last ? [] : kept.filter((output) => output.number > number)),
  };
}
