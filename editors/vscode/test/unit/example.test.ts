// The example of the walkthrough.

import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';

import { withoutMarks } from '../../src/example.ts';

/** Defined by run.mjs. */
declare const EXTENSION_FOLDER: string;

test('marks become places', () => {
  assert.deepEqual(withoutMarks('a\u00a6b\u00a6\u00a6c'), { text: 'abc', offsets: [1, 2, 2] });
  assert.deepEqual(withoutMarks('abc'), { text: 'abc', offsets: [] });
});

test('the example has three holes, each at the end of its line', () => {
  const { text, offsets } = withoutMarks(fs.readFileSync(path.join(EXTENSION_FOLDER, 'media', 'walkthrough', 'example.rs.txt'), 'utf8'));
  assert.equal(offsets.length, 3);
  for (const offset of offsets) assert.match(text.slice(offset - 7, offset + 1), /\.items\.\n/);
});
