// Places in a document as plain data, and where they are after an edit. No editor in here.

/** Line from 0 and UTF-16 code unit in it, as in the protocol. */
export interface Place {
  line: number;
  character: number;
}

/** From `start` up to `end`, which is exclusive. */
export interface Span {
  start: Place;
  end: Place;
}

export interface Replacement {
  range: Span;
  newText: string;
}

export function compare(a: Place, b: Place): number {
  return a.line - b.line || a.character - b.character;
}

function plain(place: Place): Place {
  return { line: place.line, character: place.character };
}

/** One hole for each selection, in the order of the document; cursors inside or at the edge of another hole merge with it. */
export function holesOf(selections: readonly Span[]): Span[] {
  const sorted = selections
    .map(({ start, end }) => ({ start: plain(start), end: plain(end) }))
    .sort((a, b) => compare(a.start, b.start) || compare(a.end, b.end));
  const holes: Span[] = [];
  for (const next of sorted) {
    const last = holes.at(-1);
    if (last && compare(next.start, last.end) <= 0) {
      if (compare(next.end, last.end) > 0) last.end = next.end;
    } else {
      holes.push(next);
    }
  }
  return holes;
}

/** Where the new texts stand once all replacements are made; they must be disjoint and in the order of the document. */
export function spansAfter(replacements: readonly Replacement[]): Span[] {
  let lineShift = 0;
  // Of the line on which the latest replacement ended, in the old document.
  let endLine = -1;
  let characterShift = 0;
  return replacements.map(({ range, newText }) => {
    const start = shifted(range.start);
    const lines = newText.split(/\r\n|\r|\n/);
    const last = lines.at(-1) ?? '';
    const end =
      lines.length === 1
        ? { line: start.line, character: start.character + last.length }
        : { line: start.line + lines.length - 1, character: last.length };
    lineShift = end.line - range.end.line;
    characterShift = end.character - range.end.character;
    endLine = range.end.line;
    return { start, end };
  });

  function shifted(place: Place): Place {
    return {
      line: place.line + lineShift,
      character: place.character + (place.line === endLine ? characterShift : 0),
    };
  }
}
