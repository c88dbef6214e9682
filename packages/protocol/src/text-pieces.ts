/** Of so many pieces one text is made. */
const mostPieces = 1_024;

/**
 * Text that comes in pieces. Added to each other, tiny pieces take engines tens of bytes each, for as long as nobody looks at the whole;
 * here they take not much more than their characters.
 */
export class TextPieces {
  readonly #separator: string;
  #whole: string[] = [];
  #recent: string[] = [];
  #length = 0;

  /** @param separator what stands between two pieces */
  constructor(separator: string) {
    this.#separator = separator;
  }

  /** Of the text, in UTF-16 code units. */
  get length(): number {
    return this.#length;
  }

  add(piece: string): void {
    this.#length += piece.length + (this.#recent.length + this.#whole.length > 0 ? this.#separator.length : 0);
    this.#recent.push(piece);
    if (this.#recent.length < mostPieces) return;
    this.#whole.push(this.#recent.join(this.#separator));
    this.#recent = [];
    // So many wholes are of a million pieces; few are left of them.
    if (this.#whole.length === mostPieces) this.#whole = [this.#whole.join(this.#separator)];
  }

  text(): string {
    return [...this.#whole, ...this.#recent].join(this.#separator);
  }
}
