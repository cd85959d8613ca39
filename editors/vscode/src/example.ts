// The example of the walkthrough, as text. No editor in here.

/** Where a cursor goes; no code has it. */
const MARK = '\u00a6';

/** The text without its marks, and where they were. */
export function withoutMarks(marked: string): { text: string; offsets: number[] } {
  const parts = marked.split(MARK);
  let length = 0;
  const offsets = parts.slice(0, -1).map((part) => (length += part.length));
  return { text: parts.join(''), offsets };
}
