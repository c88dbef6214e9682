import type { BudgetWindow } from '@nexus-agent/protocol';

const dayMs = 86_400_000;
let cachedDay = Number.NaN;
let cachedText = '';

/** The UTC period of a window that contains the moment: '' for a total, else `2026-11-22` or `2026-11`. */
export function periodAt(window: BudgetWindow, nowMs: number): string {
  if (window === 'total') return '';
  const day = Math.floor(nowMs / dayMs);
  if (day !== cachedDay) {
    cachedText = new Date(nowMs).toISOString().slice(0, 10);
    cachedDay = day;
  }
  return window === 'day' ? cachedText : cachedText.slice(0, 7);
}
