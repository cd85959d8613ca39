import assert from 'node:assert/strict';
import { test } from 'node:test';

import { offered, remembered } from '../../src/history.ts';

test('the latest instruction is first, each is kept once, and not for ever', () => {
  assert.deepEqual(remembered(['a', 'b'], 'c'), ['c', 'a', 'b']);
  assert.deepEqual(remembered(['a', 'b', 'c'], 'b'), ['b', 'a', 'c']);
  const many = Array.from({ length: 40 }, (_, index) => String(index)).reduce<string[]>(remembered, []);
  assert.equal(many.length, 30);
  assert.equal(many[0], '39');
});

test('what is typed comes first, then the earlier ones that have it in them', () => {
  const history = ['use an iterator', 'add types', 'Use a match'];
  assert.deepEqual(offered(history, ''), history);
  assert.deepEqual(offered(history, ' use '), ['use', 'use an iterator', 'Use a match']);
  assert.deepEqual(offered(history, 'add types'), ['add types']);
});
