// Ghost text: it comes, it goes in whole or by words, brackets and wide characters stay right.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { fillsAt, offsetsAfter } from './files.mjs';
import { until } from './workbench.mjs';

const trimmed = (text) => text.replaceAll('\u200b', '').trim();

/** Types the last character of line 49 again, after which there is something to suggest. */
export async function retype(bench) {
  await bench.goTo(49, 33);
  await bench.press('Backspace');
  await bench.type(',');
  return bench.waitForGhostText();
}

export const tests = {
  async 'ghost text appears and is accepted'(bench, { images }) {
    await bench.openFile('budget.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    const ghost = await retype(bench);
    await bench.waitForStatus(/Last result/);
    if (images) await bench.screenshot(path.join(images, 'ghost-text.png'));
    await bench.press('Tab');
    await until('the ghost text is gone', async () => (await bench.ghostText()) === '');
    const [fill] = fillsAt(original, await bench.text(), offsetsAfter(original, 'assert_eq!(budget.len(),'));
    assert.equal(trimmed(fill), trimmed(ghost));
  },

  async 'a word of the ghost text is accepted'(bench) {
    await bench.press('Control+z');
    const original = (await bench.text());
    const ghost = await retype(bench);
    await bench.press('Control+ArrowRight');
    const offsets = offsetsAfter(original, 'assert_eq!(budget.len(),');
    const [fill] = await until('a word is in the text', async () => {
      const fills = fillsAt(original, await bench.text(), offsets);
      return fills[0] !== '' && fills;
    });
    assert.ok(trimmed(ghost).startsWith(trimmed(fill)) && trimmed(fill).length < trimmed(ghost).length, `${fill} of ${ghost}`);
    await bench.press('Escape', 'Control+z');
  },

  async 'auto-closed brackets stay single'(bench) {
    await bench.openFile('brackets.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    await bench.goTo(3);
    await bench.type('    assert!(numbers.');
    await bench.waitForGhostText();
    const before = await bench.text();
    await bench.press('Tab');
    // More may be suggested at once.
    const text = await until('the suggestion is in the text', async () => {
      const now = await bench.text();
      return now !== before && now;
    });
    const [typed] = fillsAt(original, text, [original.indexOf('\n\n') + 1]);
    assert.match(typed, /^ {4}assert!\(numbers\.[^]+\);?$/);
    const count = (bracket) => typed.split(bracket).length - 1;
    // The one that the editor closed; the fill may open and close its own.
    assert.ok(count(')') === count('('), `brackets do not match: ${typed}`);
  },

  async 'text after wide characters and emoji'(bench) {
    await bench.openFile('wide.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    await bench.goTo(3);
    await bench.press('End', 'Backspace');
    await bench.type(',');
    const ghost = await bench.waitForGhostText();
    await bench.press('Tab');
    await until('the ghost text is gone', async () => (await bench.ghostText()) === '');
    const [fill] = fillsAt(original, await bench.text(), offsetsAfter(original, 'greeting.len(),'));
    assert.equal(trimmed(fill), trimmed(ghost));
    await bench.press('Control+z');
  },

  async 'a file of 20 000 lines'(bench) {
    await bench.openFile('long.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    const needle = 'assert_eq!(budget.len(),';
    const [offset] = offsetsAfter(original, needle);
    const line = original.slice(0, offset).split('\n').length;
    assert.ok(original.split('\n').length > 20_000 && line > 19_900, `line ${line}`);
    await bench.goTo(line, 33);
    await bench.press('Backspace');
    await bench.type(',');
    const ghost = await bench.waitForGhostText();
    await bench.press('Tab');
    await until('the ghost text is gone', async () => (await bench.ghostText()) === '');
    const [fill] = fillsAt(original, await bench.text(), [offset]);
    assert.equal(trimmed(fill), trimmed(ghost));
  },
};
