/**
 * Whatever a server sends or claims, so many tokens at most are charged beyond what an attempt was granted, and as many beyond what its
 * input can have: a model that is known to go on is stopped, and a claim of more is no account.
 */
export const mostExcessTokens = 8_192;

/** Shares of a token: the longest runs that the tokenizers of today's models keep in one, as far as it matters. */
const inWord = 1 / 40;
const inWideWord = 1 / 8;
const inNumber = 1 / 3;
const inSigns = 1 / 128;
const inBlanks = 1 / 160;

type Kind = 'word' | 'number' | 'signs' | 'blanks';

/** Runs that are forgiven within what stands between two blanks: simple servers count that as one token. */
const forgivenRuns = 2;

/**
 * Counts, while an answer arrives, how many tokens it holds at least: no more than the tokenizers of today's models make of
 * the same text, nor than servers that count words, so that an answer within its limit is never taken for one beyond it.
 *
 * Byte-pair tokenizers first cut text at the borders of words, numbers and signs, and no token reaches over such a border, but
 * for a blank or one sign before a word and line ends after signs. So each run counts one, and a long one more. Words of
 * scripts without blanks (Han, kana, Hangul, Thai…) count one for eight characters, which all but a few in a thousand tokens
 * of the largest vocabularies keep to. Joining two texts never raises their sum, so that a text has no fewer tokens however it is cut.
 *
 * Pieces that a server sends one by one are evidence too: servers send a token or more with each. A piece that goes on within a
 * word does not count, as proxies that smooth a stream cut words into characters.
 */
export class ReceivedTokens {
  /** Of what stands before the last blank. */
  #before = 0;
  /** Since the last blank. */
  #runs = 0;
  #pieces = 0;
  #kind: Kind | null = null;
  /** Of the open run, in tokens; counted in full once it is begun. */
  #share = 0;
  /** The open run is one sign, which counts with the word if one follows. */
  #loneSign = false;

  /**
   * Adds a piece as the server sent it.
   *
   * @param most once there are more, the rest of the piece is not counted: it takes its time, and says nothing new
   */
  add(piece: string, most = Number.POSITIVE_INFINITY): void {
    const first = piece.codePointAt(0);
    if (first === undefined) return;
    if (this.#kind !== 'word' || kindOf(first) !== 'word') this.#pieces += 1;
    for (let at = 0; at < piece.length; ) {
      const code = piece.codePointAt(at) ?? 0;
      this.#take(code);
      at += code > 0xffff ? 2 : 1;
      if ((at & 0xff) < 2 && this.least > most) return;
    }
  }

  get least(): number {
    return Math.max(this.#before + this.#sinceBlank(), this.#pieces);
  }

  #sinceBlank(): number {
    return this.#runs === 0 ? 0 : Math.max(1, this.#runs - forgivenRuns);
  }

  #take(code: number): void {
    const kind = this.#goesOn(code) ? this.#kind : kindOf(code);
    const share = shareOf(kind, code);
    if (kind === this.#kind) {
      this.#loneSign = false;
      this.#share += share;
      if (this.#share <= 1 + 1e-9) return;
      if (kind === 'blanks') this.#before += 1;
      else this.#runs += 1;
      this.#share = share;
      return;
    }
    const withWord = kind === 'word' && this.#loneSign;
    this.#kind = kind;
    this.#share = share;
    this.#loneSign = kind === 'signs';
    if (kind === 'blanks') {
      this.#before += this.#sinceBlank();
      this.#runs = 0;
    } else if (!withWord) this.#runs += 1;
  }

  /** Apostrophes are within a word ("don't"), line ends belong to the signs before them. */
  #goesOn(code: number): boolean {
    if (this.#kind === 'word') return code === 0x27 || code === 0x2019;
    return this.#kind === 'signs' && (code === 10 || code === 13);
  }
}

/** What each of the first 65,536 characters is, once it was asked for: the patterns of other scripts take their time. */
const knownKinds: (Kind | undefined)[] = new Array(0x10000);
const knownShares = new Float64Array(0x10000);

function kindOf(code: number): Kind {
  if (code > 0xffff) return findKind(code);
  const known = knownKinds[code] ?? findKind(code);
  knownKinds[code] = known;
  return known;
}

function findKind(code: number): Kind {
  if (code === 32 || (code >= 9 && code <= 13)) return 'blanks';
  if (code >= 48 && code <= 57) return 'number';
  if ((code >= 97 && code <= 122) || (code >= 65 && code <= 90)) return 'word';
  if (code < 0x80) return 'signs';
  const character = String.fromCodePoint(code);
  if (/\s/u.test(character)) return 'blanks';
  if (/\p{N}/u.test(character)) return 'number';
  return /[\p{L}\p{M}]/u.test(character) ? 'word' : 'signs';
}

const wideScripts =
  /[\p{Script=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Script=Hangul}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

function shareInWord(code: number): number {
  if (code < 0x0e00) return inWord;
  const known = code > 0xffff ? 0 : (knownShares[code] ?? 0);
  if (known > 0) return known;
  const share = wideScripts.test(String.fromCodePoint(code)) ? inWideWord : inWord;
  if (code <= 0xffff) knownShares[code] = share;
  return share;
}

function shareOf(kind: Kind | null, code: number): number {
  switch (kind) {
    case 'word':
      return shareInWord(code);
    case 'number':
      return inNumber;
    case 'signs':
      return inSigns;
    default:
      return inBlanks; // the first of them go with what follows
  }
}
