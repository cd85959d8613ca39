// The heat map: colours, hover, replacing by click and by key.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { until } from './workbench.mjs';

const TOGGLE = ['Control+k', 'Control+Alt+h'];

/** Boxes of the coloured tokens on the screen. */
async function coloured(bench) {
  return bench.page.evaluate(() =>
    [...document.querySelectorAll('.view-overlays [class*="ced-"]')]
      .filter((element) => !/^rgba\(0, 0, 0, 0\)$|^transparent$/.test(getComputedStyle(element).backgroundColor))
      .map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return { x: x + width / 2, y: y + height / 2 };
      }),
  );
}

async function shown(bench) {
  await bench.waitForStatus(/Heat map: [1-9]\d* surprising/);
  return until('tokens are coloured', async () => {
    const boxes = await coloured(bench);
    return boxes.length > 0 && boxes;
  });
}

export const tests = {
  async 'the heat map colours a file'(bench, { images }) {
    await bench.openFile('budget.rs');
    await bench.goTo(40);
    await bench.press(...TOGGLE);
    const boxes = await shown(bench);
    assert.ok(boxes.length >= 5, `${boxes.length} tokens are coloured`);
    if (images) {
      await bench.page.mouse.move(boxes[2].x, boxes[2].y);
      await bench.page.locator('.monaco-hover:visible', { hasText: 'Likelihood of' }).first().waitFor();
      await bench.screenshot(path.join(images, 'heat-map.png'));
      await bench.page.mouse.move(5, 5);
    }
  },

  async 'a click in the hover replaces the token'(bench) {
    const original = await bench.text();
    const [, , box] = await shown(bench);
    await bench.page.mouse.move(box.x, box.y);
    const hover = bench.page.locator('.monaco-hover:visible', { hasText: 'Likelihood of' }).first();
    await hover.waitFor();
    const link = hover.locator('li a').first();
    const replacement = (await link.textContent()).trim();
    await link.click();
    await until('the text has changed', () => bench.isDirty());
    // The click left the focus in the hover, where the key to save is not heard.
    await bench.focusEditor();
    const text = await bench.text();
    assert.notEqual(text, original);
    let from = 0;
    while (text[from] === original[from]) from += 1;
    assert.ok(text.slice(Math.max(0, from - replacement.length), from + replacement.length + 1).includes(replacement), `${replacement} at ${from}`);
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
    // Coloured anew after the change.
    await shown(bench);
  },

  async 'the keys go to surprising tokens and replace them'(bench) {
    const original = await bench.text();
    await bench.goTo(1);
    await bench.press('Alt+]', 'Alt+]', 'Alt+[', 'Alt+Enter');
    const row = bench.page.locator('.quick-input-list .monaco-list-row.focused');
    await bench.page.locator('.quick-input-widget', { hasText: 'has a likelihood of' }).waitFor();
    await row.waitFor();
    await bench.press('Enter');
    await until('the text has changed', () => bench.isDirty());
    await bench.focusEditor();
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
    await shown(bench);
  },

  async 'the colours go when the heat map is switched off'(bench) {
    await bench.press(...TOGGLE);
    await until('no colour is left', async () => (await coloured(bench)).length === 0);
    assert.doesNotMatch(await bench.status(), /Heat map/);
  },

  async 'a selection alone is coloured'(bench) {
    await bench.openFile('wide.rs');
    await bench.goTo(3);
    await bench.press('Shift+End', ...TOGGLE);
    const boxes = await shown(bench);
    assert.equal(new Set(boxes.map(({ y }) => Math.round(y))).size, 1, 'tokens of one line');
    await bench.press('ArrowRight', ...TOGGLE);
    await until('no colour is left', async () => (await coloured(bench)).length === 0);
    assert.equal(await bench.text(), fs.readFileSync(bench.file, 'utf8'));
  },
};
