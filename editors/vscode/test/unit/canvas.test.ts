import assert from 'node:assert/strict';
import { test } from 'node:test';

import { columns, gradient, oneLine, runsOf } from '../../src/canvas.ts';

test('masks shimmer, text does not', () => {
  const cells = [{ text: 'a', confidence: 0.5 }, null];
  const [early, late] = [runsOf(cells, 0), runsOf(cells, 0.5)];
  assert.equal(early[0]?.text, 'a');
  assert.equal(early[1]?.text, '\u2591\u2591\u2591');
  assert.deepEqual(early[0], late[0]);
  assert.notEqual(early[1]?.opacity, late[1]?.opacity);
});

test('the surer, the clearer', () => {
  const cells = [0, 0.5, 1, 7].map((confidence) => ({ text: 'a', confidence }));
  assert.deepEqual(runsOf(cells, 0).map((run) => run.opacity), [0.35, 0.675, 1, 1]);
});

test('a hole shows masks before its first frame, and nothing if its fill is empty', () => {
  assert.ok(runsOf(undefined, 0).every((run) => run.text.startsWith('\u2591')));
  assert.deepEqual(runsOf([], 0), []);
});

test('lines become one, spaces survive CSS', () => {
  assert.equal(oneLine('a b\r\n\tc\nd'), 'a\u00a0b\u23ce\u2192\u00a0c\u23ced');
});

test('of a long text the end is shown', () => {
  const runs = runsOf([{ text: 'x'.repeat(99), confidence: 1 }, { text: 'end', confidence: 0 }], 0);
  assert.equal(runs.map((run) => run.text).join(''), `\u2026${'x'.repeat(97)}end`);
  assert.equal(runs.at(-1)?.opacity, 0.35);
});

test('of the masks after the text a few are shown, those before it all', () => {
  const word = { text: 'x', confidence: 1 };
  const shape = (cells: (typeof word | null)[]): string => runsOf(cells, 0).map(({ text }) => (text === 'x' ? 'x' : '-')).join('');
  assert.equal(shape([null, null, word, ...Array(20).fill(null)]), '--x----');
  assert.equal(shape(Array(20).fill(null)), '----');
});

test('wide characters take two columns', () => {
  assert.equal(columns('ab'), 2);
  assert.equal(columns('\u6f22\u5b57'), 4);
  assert.equal(columns('\u{1f389}'), 2);
});

test('the gradient has one hard edge between runs, where their columns meet', () => {
  const css = gradient([{ text: 'abc', opacity: 1 }, { text: '\u6f22', opacity: 0.4 }]);
  assert.match(css, /currentcolor 100%, transparent\) 0% 60%, color-mix\(in srgb, currentcolor 40%, transparent\) 60% 100%/);
  assert.equal(gradient([]), 'none');
});
