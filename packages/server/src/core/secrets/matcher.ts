export const removed = '[redacted]';

interface Node {
  readonly next: Map<number, Node>;
  /** A needle ends here. */
  isEnd: boolean;
}

/** What a scan has made of a text: the part that is certain, and what may be the beginning of a needle. */
export interface Scanned {
  readonly text: string;
  readonly held: string;
}

/** Finds many texts at once: at each place the longest that begins there, from the left. Compiled once, shared by all who search. */
export class Matcher {
  readonly #root: Node = { next: new Map(), isEnd: false };
  /** Which units a needle can begin with: most of a text is passed over by this alone. */
  readonly #first = new Uint8Array(65_536);

  constructor(needles: Iterable<string>) {
    for (const needle of needles) this.#insert(needle);
  }

  #insert(needle: string): void {
    if (needle === '') return;
    let node = this.#root;
    for (let at = 0; at < needle.length; at += 1) {
      const unit = needle.charCodeAt(at);
      let next = node.next.get(unit);
      if (next === undefined) {
        next = { next: new Map(), isEnd: false };
        node.next.set(unit, next);
      }
      node = next;
    }
    node.isEnd = true;
    this.#first[needle.charCodeAt(0)] = 1;
  }

  /** Every needle replaced. `isWhole` false: more of the text follows, so what may be the beginning of a needle is held back. */
  scan(text: string, isWhole: boolean): Scanned {
    let clean = '';
    let kept = 0;
    let at = 0;
    while (at < text.length) {
      if (this.#first[text.charCodeAt(at)] === 0) {
        at += 1;
        continue;
      }
      const end = this.#longestFrom(text, at, isWhole);
      if (end === undecided) return { text: clean + text.slice(kept, at), held: text.slice(at) };
      if (end === none) {
        at += 1;
        continue;
      }
      clean += text.slice(kept, at) + removed;
      kept = end;
      at = end;
    }
    return { text: kept === 0 ? text : clean + text.slice(kept), held: '' };
  }

  #longestFrom(text: string, start: number, isWhole: boolean): number {
    let node: Node | undefined = this.#root;
    let found = none;
    for (let at = start; at < text.length; at += 1) {
      node = node.next.get(text.charCodeAt(at));
      if (node === undefined) return found;
      if (node.isEnd) found = at + 1;
    }
    return isWhole || node.next.size === 0 ? found : undecided;
  }
}

const none = -1;
const undecided = -2;
