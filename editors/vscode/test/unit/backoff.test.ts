import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backoff } from '../../src/backoff.ts';

test('the wait doubles, then the server stays down', () => {
  const backoff = new Backoff();
  const verdicts = [0, 1, 2, 3, 4, 5].map((second) => backoff.ended(second * 1000));
  assert.deepEqual(verdicts.map((verdict) => verdict.restart && verdict.delayMs), [500, 1000, 2000, 4000, 8000, false]);
});

test('ends of long ago do not count', () => {
  const backoff = new Backoff();
  for (let end = 0; end < 20; end++) {
    const verdict = backoff.ended(end * 60_000);
    assert.ok(verdict.restart && verdict.attempt <= 3);
  }
});

test('a start by the user begins anew', () => {
  const backoff = new Backoff();
  for (let end = 0; end < 6; end++) backoff.ended(0);
  backoff.reset();
  assert.deepEqual(backoff.ended(0), { restart: true, delayMs: 500, attempt: 1 });
});
