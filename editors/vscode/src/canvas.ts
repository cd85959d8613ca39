// How a fill looks while it is being computed: one line of text, and each character's opacity. No editor in here.

import type { Cell } from './protocol.ts';

const MASK = '\u2591';
/** A mask is drawn this wide: tokens of code are short words. */
const MASK_COLUMNS = 3;
/** What a hole shows before its first frame. */
const FIRST_CELLS: readonly Cell[] = [null, null, null, null];
/** A decoration is one line; the end of a longer text is where something happens. */
const MAX_COLUMNS = 100;
/** Of the masks after the last text, which may be as many as the fill's longest length. */
const MAX_LAST_MASKS = 4;
const FAINTEST = 0.35;

/** Characters of one opacity. */
export interface Run {
  text: string;
  /** From 0 to 1. */
  opacity: number;
}

/** The runs of a canvas; `phase` (in turns) moves the shimmer over the masks. */
export function runsOf(cells: readonly Cell[] | undefined, phase: number): Run[] {
  const all = cells ?? FIRST_CELLS;
  const shown = all.slice(0, all.findLastIndex((cell) => cell !== null) + 1 + MAX_LAST_MASKS);
  const runs = shown.map((cell, index): Run =>
    cell === null
      ? { text: MASK.repeat(MASK_COLUMNS), opacity: shimmer(index, phase) }
      : { text: oneLine(cell.text), opacity: FAINTEST + (1 - FAINTEST) * clamp(cell.confidence) },
  );
  return lastColumns(runs.filter((run) => run.text !== ''));
}

/** A wave that runs along the masks, between faint and clear. */
function shimmer(index: number, phase: number): number {
  const wave = Math.sin(2 * Math.PI * (phase - index / 6));
  return round(0.4 + 0.25 * wave);
}

/** Line ends and tabs as signs; spaces that CSS does not swallow. */
export function oneLine(text: string): string {
  return text
    .replace(/\r\n|\r|\n/g, '\u23ce')
    .replace(/\t/g, '\u2192\u00a0')
    .replace(/ /g, '\u00a0');
}

function lastColumns(runs: Run[]): Run[] {
  let surplus = columns(runs.map((run) => run.text).join('')) - MAX_COLUMNS;
  if (surplus <= 0) return runs;
  const kept: Run[] = [];
  for (const run of runs) {
    const characters = [...run.text];
    while (surplus > 0 && characters.length > 0) surplus -= columns(characters.shift() ?? '');
    if (characters.length > 0) kept.push({ ...run, text: characters.join('') });
  }
  return [{ text: '\u2026', opacity: 1 }, ...kept];
}

/** Width in columns of a fixed-width font: East Asian wide characters and emoji take two. */
export function columns(text: string): number {
  let width = 0;
  for (const character of text) width += /[\u1100-\u115f\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u.test(character) ? 2 : 1;
  return width;
}

/**
 * CSS declarations that paint text in the colour of its element with each run's opacity, as one gradient with hard
 * edges: a decoration has one colour for all of its text.
 */
export function gradient(runs: readonly Run[]): string {
  const total = columns(runs.map((run) => run.text).join(''));
  if (total === 0) return 'none';
  let done = 0;
  const stops = runs.map((run) => {
    const from = done;
    done += columns(run.text);
    const colour = `color-mix(in srgb, currentcolor ${Math.round(run.opacity * 100)}%, transparent)`;
    return `${colour} ${percent(from / total)} ${percent(done / total)}`;
  });
  return `none; background-image: linear-gradient(90deg, ${stops.join(', ')}); -webkit-background-clip: text; background-clip: text; -webkit-text-fill-color: transparent`;
}

function percent(share: number): string {
  return `${round(share * 100)}%`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}
