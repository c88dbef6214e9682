/** Of so many pieces one is made. */
const mostPieces = 1_024;

/** Bytes that come in pieces, of which each takes a hundred bytes more than it has: those of a crumb are not kept as they came. */
export class BytePieces {
  #whole: Buffer[] = [];
  #recent: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(piece: Buffer): void {
    this.#bytes += piece.length;
    this.#recent.push(piece);
    if (this.#recent.length < mostPieces) return;
    this.#whole.push(Buffer.concat(this.#recent));
    this.#recent = [];
    // So many wholes are of a million pieces; few are left of them.
    if (this.#whole.length === mostPieces) this.#whole = [Buffer.concat(this.#whole)];
  }

  concat(): Buffer {
    return Buffer.concat([...this.#whole, ...this.#recent]);
  }
}
