// The workspace of the tests: places where the embedded model has something to say.

import fs from 'node:fs';
import path from 'node:path';

// What the walkthrough opens, without the marks of its three holes.
const MULTIPLE = fs.readFileSync(new URL('../../media/walkthrough/example.rs.txt', import.meta.url), 'utf8').replaceAll('\u00a6', '');

const BRACKETS = `fn main() {
    let numbers = [1, 2, 3];

}
`;

const WIDE = `// 挨拶 🎉
fn main() {
    let greeting = "こんにちは 🎉"; assert_eq!(greeting.len(),
    let wide = "漢字🧑‍🚀"; assert_eq!(wide.len(),
}
`;

// Enough holes that filling them takes seconds.
const SLOW = Array.from({ length: 24 }, (_, n) => `#[test]\nfn a_new_vector_is_empty_${n}() {\n    let numbers: Vec<u32> = Vec::new();\n    assert!(numbers.\n}\n`).join('\n');

const STUBS = `//! Money in whole cents.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Money {
    cents: i64,
}

impl Money {
    pub fn new(cents: i64) -> Self {
        todo!()
    }

    pub fn is_zero(&self) -> bool {
        todo!()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_money_is_zero() {
        assert!(Money::new(0).is_zero());
    }

    #[test]
    fn some_money_is_not_zero() {
        zebra!(!Money::new(1).is_zero());
    }
}
`;

/** So many lines, with `end` as the last ones. */
function long(n_lines, end) {
  const n_before = n_lines - end.split('\n').length + 1;
  const lines = [];
  for (let i = 0; lines.length < n_before; i += 1) lines.push(`/// Returns number ${i}.`, `pub fn number_${i}() -> usize {`, `    ${i}`, '}', '');
  return `${lines.slice(0, n_before).join('\n')}\n${end}`;
}

/** Name to text. */
export function files(root) {
  const budget = fs.readFileSync(path.join(root, 'tests', 'fixtures', 'projects', 'rust-ledger', 'src', 'budget.rs'), 'utf8');
  return {
    'budget.rs': budget,
    'long.rs': long(20_000, budget),
    'multiple.rs': MULTIPLE,
    'brackets.rs': BRACKETS,
    'wide.rs': WIDE,
    'slow.rs': SLOW,
    'looks.rs': MULTIPLE,
    'stubs.rs': STUBS,
  };
}

/**
 * What stands in `text` where `original` has nothing, cut at the given places (offsets into `original`, ascending).
 * Fails unless everything else is as it was.
 */
export function fillsAt(original, text, offsets) {
  const parts = [0, ...offsets].map((start, index, all) => original.slice(start, all[index + 1]));
  let from = 0;
  const fills = parts.map((part, index) => {
    const at = index === parts.length - 1 ? text.length - part.length : text.indexOf(part, from);
    if (at < from || !text.startsWith(part, at) || (index === 0 && at !== 0)) {
      throw new Error(`the text outside the holes changed:\n${text}`);
    }
    const fill = text.slice(from, at);
    from = at + part.length;
    return fill;
  });
  return fills.slice(1);
}

/** The offsets right after every occurrence. */
export function offsetsAfter(text, needle) {
  return [...text.matchAll(new RegExp(needle.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'g'))].map((match) => match.index + needle.length);
}
