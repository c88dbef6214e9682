/** More edits make another word, however long it is. */
const mostEdits = 8;

/**
 * The known word nearest to a misspelt one, or null when none is near. Words come from anybody: two are compared in time that follows
 * from the length of one, and no further than they may still be near.
 */
export function closest(word: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Math.min(mostEdits, Math.max(2, Math.floor(word.length / 3))) + 1;
  const wanted = normalise(word);
  for (const candidate of known) {
    const offered = normalise(candidate);
    const distance = editDistance(wanted, offered, bestDistance);
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

/** Two neighbours that changed places are one edit. `limit` stands for every distance that is not below it. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let before: readonly number[] = [];
  let row: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => Math.min(index, limit));
  let leastBefore = 0;
  for (let i = 1; i <= a.length; i++) {
    // Further from the diagonal lie only places with as many edits as that.
    const from = Math.max(1, i - limit);
    const to = Math.min(b.length, i + limit);
    const next: number[] = [];
    next[from - 1] = from === 1 ? Math.min(i, limit) : limit;
    let least = next[from - 1] ?? limit;
    for (let j = from; j <= to; j++) {
      const substitution = (row[j - 1] ?? limit) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (before[j - 2] ?? limit) + 1 : substitution;
      const edits = Math.min(limit, substitution, swap, (row[j] ?? limit) + 1, (next[j - 1] ?? limit) + 1);
      next[j] = edits;
      least = Math.min(least, edits);
    }
    // A swap goes on from the row before this one.
    if (least >= limit && leastBefore >= limit) return limit;
    leastBefore = least;
    before = row;
    row = next;
  }
  return row[b.length] ?? limit;
}
