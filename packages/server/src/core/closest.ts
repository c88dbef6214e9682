/** Nobody misspells a name in more places, however long it is. */
const mostEdits = 8;
/** So many fields of tables are filled in for one word, which takes some milliseconds: whoever asks may have made the names, too. */
const maxFields = 500_000;

/** The known word nearest to a misspelt one, or null when none is near. Of very many that are alike, those that stand first are looked at. */
export function closest(word: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Math.min(mostEdits, Math.max(2, Math.floor(word.length / 3))) + 1;
  let left = maxFields;
  const wanted = normalise(word);
  for (const candidate of known) {
    const offered = normalise(candidate);
    // At least so many edits: a key may be as long as a body.
    if (Math.abs(wanted.length - offered.length) >= bestDistance) continue;
    if (left <= 0) break;
    const { distance, fields } = editDistance(wanted, offered, bestDistance);
    left -= fields;
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function normalise(word: string): string {
  return word.toLowerCase().replace(/[_-]/g, '');
}

/**
 * Two neighbours that changed places are one edit. `distance` is `below` for all that are at least so far apart: only fields of the table
 * that may lead to less are filled in.
 */
function editDistance(a: string, b: string, below: number): { readonly distance: number; readonly fields: number } {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  let lowestBefore = 0;
  let fields = 0;
  for (let i = 1; i <= a.length; i++) {
    const from = Math.max(1, i - below + 1);
    const to = Math.min(b.length, i + below - 1);
    const next: number[] = [];
    next[from - 1] = from === 1 ? i : below;
    let lowest = next[from - 1] ?? below;
    for (let j = from; j <= to; j++) {
      const substitution = (row[j - 1] ?? below) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (before[j - 2] ?? below) + 1 : substitution;
      const field = Math.min(substitution, swap, (row[j] ?? below) + 1, (next[j - 1] ?? below) + 1);
      next[j] = field;
      if (field < lowest) lowest = field;
    }
    fields += to - from + 1;
    if (lowest >= below && lowestBefore >= below) return { distance: below, fields };
    lowestBefore = lowest;
    before = row;
    row = next;
  }
  return { distance: Math.min(below, row[b.length] ?? below), fields };
}
