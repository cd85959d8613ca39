import assert from 'node:assert/strict';
import { test } from 'node:test';

import { holesOf, spansAfter, type Span } from '../../src/places.ts';

function span(startLine: number, startCharacter: number, endLine = startLine, endCharacter = startCharacter): Span {
  return { start: { line: startLine, character: startCharacter }, end: { line: endLine, character: endCharacter } };
}

test('holes come in the order of the document', () => {
  assert.deepEqual(holesOf([span(5, 1), span(2, 0, 2, 4), span(2, 8)]), [span(2, 0, 2, 4), span(2, 8), span(5, 1)]);
});

test('selections that touch are one hole, since ranges must be disjoint', () => {
  assert.deepEqual(holesOf([span(1, 0, 1, 4), span(1, 4)]), [span(1, 0, 1, 4)]);
  assert.deepEqual(holesOf([span(1, 0, 1, 4), span(1, 4, 2, 1)]), [span(1, 0, 2, 1)]);
  assert.deepEqual(holesOf([span(3, 3), span(3, 3)]), [span(3, 3)]);
  assert.deepEqual(holesOf([span(1, 0, 3, 0), span(2, 1)]), [span(1, 0, 3, 0)]);
});

test('holes are copies', () => {
  const selection = span(1, 0, 1, 1);
  const [hole] = holesOf([selection, span(1, 1, 1, 3)]);
  assert.deepEqual(hole, span(1, 0, 1, 3));
  assert.deepEqual(selection, span(1, 0, 1, 1));
});

test('fills on one line shift those after them', () => {
  const spans = spansAfter([
    { range: span(0, 2), newText: 'abc' },
    { range: span(0, 5, 0, 6), newText: '' },
    { range: span(0, 9), newText: 'x' },
    { range: span(1, 4), newText: 'y' },
  ]);
  assert.deepEqual(spans, [span(0, 2, 0, 5), span(0, 8), span(0, 11, 0, 12), span(1, 4, 1, 5)]);
});

test('lines that come and go shift those below', () => {
  const spans = spansAfter([
    { range: span(0, 2), newText: 'a\r\nbc\n' },
    { range: span(0, 4), newText: 'd' },
    { range: span(1, 1, 3, 2), newText: 'ef' },
    { range: span(3, 5), newText: 'g' },
    { range: span(4, 0), newText: 'h' },
  ]);
  assert.deepEqual(spans, [span(0, 2, 2, 0), span(2, 2, 2, 3), span(3, 1, 3, 3), span(3, 6, 3, 7), span(4, 0, 4, 1)]);
});

test('spans are where an edit of a string puts the text', () => {
  const text = 'fn a() {\n  one\n}\n\nfn b() {\n  two; three\n}\n';
  const replacements = [
    { range: span(0, 5), newText: 'x,\n y' },
    { range: span(1, 2, 1, 5), newText: '\u{1f389}\n' },
    { range: span(5, 2, 5, 5), newText: '' },
    { range: span(5, 7, 6, 1), newText: 'z' },
  ];
  let edited = text;
  for (const { range, newText } of [...replacements].reverse()) {
    edited = edited.slice(0, offset(text, range.start)) + newText + edited.slice(offset(text, range.end));
  }
  const found = spansAfter(replacements).map(({ start, end }) => edited.slice(offset(edited, start), offset(edited, end)));
  assert.deepEqual(found, replacements.map(({ newText }) => newText));

  function offset(of: string, { line, character }: Span['start']): number {
    return of.split('\n').slice(0, line).reduce((sum, each) => sum + each.length + 1, character);
  }
});
