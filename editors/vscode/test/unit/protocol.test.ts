import assert from 'node:assert/strict';
import { test } from 'node:test';

import { offersInfill } from '../../src/protocol.ts';

test('an older server or another one does not offer infill', () => {
  assert.equal(offersInfill({ experimental: { diffcoder: { infill: true } } }), true);
  assert.equal(offersInfill({ experimental: { diffcoder: {} } }), false);
  assert.equal(offersInfill({ experimental: null }), false);
  assert.equal(offersInfill(undefined), false);
});
