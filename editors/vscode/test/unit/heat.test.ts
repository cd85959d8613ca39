import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LEVELS, LINES_AT_ONCE, alternativesTo, codeSpan, isVisible, levelOf, neighbour, percent, pieces, tokenAt } from '../../src/heat.ts';
import type { ScoredToken } from '../../src/protocol.ts';

function token(line: number, from: number, to: number, probability: number, alternatives: ScoredToken['alternatives'] = []): ScoredToken {
  const range = { start: { line, character: from }, end: { line, character: to } };
  return { range, logProbability: Math.log(probability), alternatives };
}

test('the less likely, the hotter', () => {
  const levels = [1, 0.3, 0.19, 0.049, 0.009, 0.0009].map((probability) => levelOf(token(0, 0, 1, probability)));
  assert.deepEqual(levels, [0, 0, 1, 2, 3, 4]);
  assert.equal(levels.at(-1), LEVELS);
  assert.equal(levelOf({ logProbability: Number.NEGATIVE_INFINITY }), LEVELS);
});

test('blanks, likely tokens and parts of characters are not coloured', () => {
  assert.ok(isVisible(token(0, 0, 1, 0.1), 'x'));
  assert.ok(!isVisible(token(0, 0, 1, 0.1), '  \n'));
  assert.ok(!isVisible(token(0, 0, 1, 0.9), 'x'));
  assert.ok(!isVisible(token(0, 1, 1, 0.1), 'x'));
});

test('a border belongs to the token on its right', () => {
  const tokens = [token(0, 0, 3, 1), token(0, 3, 3, 1), token(0, 3, 5, 0.1)];
  assert.equal(tokenAt(tokens, { line: 0, character: 2 }), tokens[0]);
  assert.equal(tokenAt(tokens, { line: 0, character: 3 }), tokens[2]);
  assert.equal(tokenAt(tokens, { line: 0, character: 5 }), undefined);
});

test('next and previous go round', () => {
  const [a, b] = [{ line: 1, character: 2 }, { line: 4, character: 0 }];
  assert.deepEqual(neighbour([b, a], { line: 0, character: 0 }, 1), a);
  assert.deepEqual(neighbour([b, a], a, 1), b);
  assert.deepEqual(neighbour([b, a], b, 1), a);
  assert.deepEqual(neighbour([b, a], a, -1), b);
  assert.equal(neighbour([], a, 1), undefined);
});

test('alternatives are other texts, the likeliest first', () => {
  const found = alternativesTo(token(0, 0, 1, 0.1, [{ text: 'b', probability: 0.1 }, { text: 'a', probability: 0.5 }, { text: 'x', probability: 0.2 }, { text: '', probability: 0.1 }]), 'x');
  assert.deepEqual(found.map(({ text }) => text), ['a', 'b']);
});

test('text stays text in Markdown', () => {
  assert.equal(codeSpan('a`b``c'), '``` a`b``c ```');
  assert.equal(codeSpan('x|y\n'), '` x\\|y\u23ce `');
  assert.equal(percent(0.456), '46\u202f%');
  assert.equal(percent(0.0012), '0.1\u202f%');
  assert.equal(percent(0.0001), '<\u202f0.1\u202f%');
});

test('long texts are scored in pieces that cover them once, the visible ones first', () => {
  const span = { start: { line: 3, character: 4 }, end: { line: 3 + 3 * LINES_AT_ONCE, character: 7 } };
  const all = pieces(span, undefined);
  assert.equal(all.length, 4);
  assert.deepEqual(all[0]?.start, span.start);
  assert.deepEqual(all.at(-1)?.end, span.end);
  for (const [index, piece] of all.entries()) if (index > 0) assert.deepEqual(piece.start, all[index - 1]?.end);
  const line = 3 + LINES_AT_ONCE + 10;
  const [first, ...others] = pieces(span, { from: line, to: line + 2 });
  assert.deepEqual(first, all[1]);
  assert.deepEqual(others, [all[0], all[2], all[3]]);
  assert.deepEqual(pieces({ start: span.start, end: span.start }, undefined), []);
});
