// What the user copies is told to the server, and copying and pasting are as ever. With the server of the actions.
// Before VS Code 1.97 the way to learn of it is a proposal, which only this web server lets every extension use.

import assert from 'node:assert/strict';

import { HOLES, changeServer, messages } from './actions.mjs';
import { until } from './workbench.mjs';

const seen = (bench) => messages(bench, 'diffcoder/seen').map(({ params }) => params);

/** Longer than it takes until the server is told, or until there is a widget. */
async function pause() {
  await new Promise((resolve) => setTimeout(resolve, 1_000));
}

/** Runs it, and gives what the server was told meanwhile. */
async function toldBy(bench, act) {
  const before = seen(bench).length;
  await act();
  await until('the server is told', () => seen(bench).length > before);
  return seen(bench).slice(before);
}

async function clipboard(bench) {
  return bench.page.evaluate(() => navigator.clipboard.readText());
}

export const tests = {
  async 'the server is told what is copied'(bench) {
    await bench.goTo(6, 5);
    await bench.press('Shift+End');
    const [{ textDocument, range }, ...others] = await toldBy(bench, () => bench.press('Control+c'));
    assert.match(textDocument.uri, /^file:.*\/holes\.rs$/);
    assert.deepEqual(range, { start: { line: 5, character: 4 }, end: { line: 5, character: 11 } });
    assert.deepEqual(others, []);
    assert.equal(await clipboard(bench), 'todo!()');
  },

  async 'a line without a selection, too, and the paste is as ever'(bench) {
    await bench.goTo(6, 7);
    const told = await toldBy(bench, () => bench.press('Control+c'));
    assert.deepEqual(told.map(({ range }) => range.start.line), [5]);
    assert.equal(await clipboard(bench), '    todo!()\n');
    await bench.goTo(2, 7);
    await bench.press('Control+v');
    await until('it is pasted', () => bench.isDirty());
    await pause();
    // Where there are several ways to paste, this is how VS Code offers the others.
    assert.equal(await bench.page.locator('.post-edit-widget').count(), 0);
    assert.equal(await bench.text(), HOLES.replace('    todo!()\n', '    todo!()\n    todo!()\n'));
    await bench.press('Control+z');
    assert.equal(await bench.text(), HOLES);
  },

  async 'what is cut is not told'(bench) {
    const before = seen(bench).length;
    await bench.goTo(6, 5);
    await bench.press('Shift+End', 'Control+x');
    await until('it is gone', () => bench.isDirty());
    await pause();
    assert.equal(await clipboard(bench), 'todo!()');
    assert.equal(seen(bench).length, before);
    await bench.press('Control+v');
    assert.equal(await bench.text(), HOLES);
  },
};

/** With a server that does not want to know. */
export const testsOfOthers = {
  async 'another server is told of no copy'(bench) {
    await changeServer(bench);
    const before = seen(bench).length;
    await bench.goTo(6, 5);
    await bench.press('Shift+End', 'Control+c');
    await pause();
    assert.equal(await clipboard(bench), 'todo!()');
    assert.equal(seen(bench).length, before);
  },
};
