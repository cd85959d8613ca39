// How likely the model finds the tokens of a text: levels, words for them, and the alternatives. No editor in here.

import { oneLine } from './canvas.ts';
import { compare, type Place, type Span } from './places.ts';
import type { ScoredToken } from './protocol.ts';

/** Below each of these probabilities a token is a level hotter; the first level is not coloured. */
const LIMITS = [0.2, 0.05, 0.01, 0.001] as const;
/** Number of coloured levels. */
export const LEVELS = LIMITS.length;
/** Lines scored in one request, so that colours come soon and typing is never far behind. */
export const LINES_AT_ONCE = 80;

/** From 0, likely, to `LEVELS`, the most surprising. */
export function levelOf({ logProbability }: Pick<ScoredToken, 'logProbability'>): number {
  return LIMITS.filter((limit) => Math.exp(logProbability) < limit).length;
}

/** Whether there is something to see: blanks have no colour of their own to speak of. */
export function isVisible(token: ScoredToken, text: string): boolean {
  return compare(token.range.start, token.range.end) < 0 && text.trim() !== '' && levelOf(token) > 0;
}

/** The token at a place; at a border, the one to the right. */
export function tokenAt(tokens: readonly ScoredToken[], place: Place): ScoredToken | undefined {
  return tokens.find(({ range }) => compare(range.start, place) <= 0 && compare(place, range.end) < 0);
}

/** The next of `starts` after `place`, or the first; with `by` -1 the one before it, or the last. */
export function neighbour(starts: readonly Place[], place: Place, by: 1 | -1): Place | undefined {
  const sorted = [...starts].sort(compare);
  if (by === 1) return sorted.find((start) => compare(start, place) > 0) ?? sorted[0];
  return sorted.findLast((start) => compare(start, place) < 0) ?? sorted.at(-1);
}

/** Alternatives to `text`, the likeliest first. */
export function alternativesTo(token: ScoredToken, text: string): { text: string; probability: number }[] {
  return token.alternatives.filter((other) => other.text !== text && other.text !== '').sort((a, b) => b.probability - a.probability);
}

/** A probability for people: whole percent, or how far below one. */
export function percent(probability: number): string {
  const percents = probability * 100;
  if (percents >= 1) return `${Math.round(percents)}\u202f%`;
  return percents >= 0.1 ? `${percents.toFixed(1)}\u202f%` : '<\u202f0.1\u202f%';
}

/** Text as a code span of Markdown, whatever is in it. */
export function codeSpan(text: string): string {
  const shown = oneLine(text).replaceAll('\u00a0', ' ').replaceAll('|', '\\|');
  const longest = Math.max(0, ...[...shown.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${shown} ${fence}`;
}

/** `span` cut into pieces of whole lines, those that meet `first` (lines from 0) before the others. */
export function pieces(span: Span, first: { from: number; to: number } | undefined): Span[] {
  const all: Span[] = [];
  for (let line = span.start.line; line <= span.end.line; line += LINES_AT_ONCE) {
    const end = line + LINES_AT_ONCE > span.end.line ? span.end : { line: line + LINES_AT_ONCE, character: 0 };
    const start = line === span.start.line ? span.start : { line, character: 0 };
    if (compare(start, end) < 0) all.push({ start, end });
  }
  const isFirst = (piece: Span): boolean => first !== undefined && piece.end.line >= first.from && piece.start.line <= first.to;
  return [...all.filter(isFirst), ...all.filter((piece) => !isFirst(piece))];
}
