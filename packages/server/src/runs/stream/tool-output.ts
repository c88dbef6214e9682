/** What a tool said while it ran. `afterSeq` is the newest event of the run at that time. */
export interface ToolOutput {
  readonly number: number;
  readonly afterSeq: number;
  readonly step: number;
  readonly callId: string;
  readonly text: string;
}

/** The newest outputs of a run, at most `maxChars` of them beside the newest one: progress is shown to who looks on, and kept for nobody. */
export class OutputRing {
  readonly #maxChars: number;
  #kept: ToolOutput[] = [];
  #chars = 0;
  #last = 0;

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  /** Number of the newest output; a reader begins after it, for earlier ones are not kept for it. */
  get last(): number {
    return this.#last;
  }

  add(output: Omit<ToolOutput, 'number'>): void {
    this.#last += 1;
    this.#kept.push({ ...output, number: this.#last });
    this.#chars += output.text.length;
    let drop = 0;
    while (drop < this.#kept.length - 1 && this.#chars > this.#maxChars) this.#chars -= this.#kept[drop++]?.text.length ?? 0;
    if (drop > 0) this.#kept = this.#kept.slice(drop);
  }

  after(number: number): readonly ToolOutput[] {
    return number >= this.#last ? [] : this.#kept.filter((output) => output.number > number);
  }
}
