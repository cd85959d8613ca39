// Infill Selection(s): several cursors, live preview, accept, reject, retry, alternatives, cancel.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { fillsAt, offsetsAfter } from './files.mjs';
import { ticks } from './processes.mjs';
import { until } from './workbench.mjs';

const FILL = ['Control+k', 'Control+Enter'];

/** Where the three statements end. */
const holesOf = (text) => offsetsAfter(text, 'self.items.').filter((offset) => text[offset] === '\n');

/** Cursors there. */
export async function threeCursors(bench) {
  await bench.goTo(8, 9);
  await bench.press('Shift+End', 'Control+Shift+l', 'End');
}

/** What the decorations of the live preview show now, masks included. */
async function preview(bench) {
  return bench.page.evaluate(readPreview);
}

/** Runs in the page. */
function readPreview() {
  return [...document.querySelectorAll('.view-line [class*="ced-"]')]
    .map((element) => getComputedStyle(element, '::before'))
    .filter((style) => style.content.startsWith('"'))
    .map((style) => ({ text: style.content.slice(1, -1), paint: style.backgroundImage }));
}

/** Waits until there is text besides masks in the preview. */
async function waitForText(bench) {
  const hasText = new Function(`return (${readPreview})().some(({ text }) => /[^\u2591\u00a0\u23ce]/u.test(text));`);
  await bench.page.waitForFunction(hasText, undefined, { polling: 10 });
}

async function sleep(ms) {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

export const tests = {
  async 'three cursors are filled in one go, undo is one step'(bench, { images }) {
    await bench.openFile('multiple.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    await threeCursors(bench);
    const [pid] = bench.servers();
    // Held still, so that there is time to look.
    process.kill(pid, 'SIGSTOP');
    try {
      await bench.press(...FILL);
      await bench.waitForStatus(/Filling 3 hole/);
      const masks = await until('the preview shows masks in three holes', async () => {
        const parts = await preview(bench);
        return parts.length === 3 && parts.every(({ text }) => /^\u2591+$/.test(text)) && parts;
      });
      assert.ok(masks.every(({ paint }) => paint.startsWith('linear-gradient')), 'opacity is painted');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await bench.waitForStatus(/Infill 1 of 1: accept or reject/);
    await bench.page.locator('.codelens-decoration', { hasText: 'Accept' }).waitFor();
    if (images) await bench.screenshot(path.join(images, 'infill-proposal.png'));
    await bench.press('Control+Enter');
    await bench.waitForStatus(/Ready/);
    const fills = fillsAt(original, await bench.text(), holesOf(original));
    assert.equal(fills.length, 3);
    assert.ok(fills.every((fill) => fill !== ''), JSON.stringify(fills));
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'Escape rejects and leaves nothing behind'(bench) {
    const original = await bench.text();
    await threeCursors(bench);
    await bench.press(...FILL);
    await bench.waitForStatus(/accept or reject/);
    assert.ok(await bench.isDirty());
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    await until('the file counts as unchanged', async () => !(await bench.isDirty()));
    assert.equal(await bench.text(), original);
    assert.equal((await preview(bench)).length, 0);
  },

  async 'Retry adds an alternative, next and previous show them'(bench, { images }) {
    const original = await bench.text();
    const offsets = holesOf(original);
    await threeCursors(bench);
    await bench.press(...FILL);
    await bench.waitForStatus(/Infill 1 of 1/);
    await bench.press('Alt+Enter');
    await bench.waitForStatus(/Infill 2 of 2/);
    const second = fillsAt(original, await bench.text(), offsets);
    await bench.press('Alt+[');
    await bench.waitForStatus(/Infill 1 of 2/);
    await bench.page.locator('.codelens-decoration', { hasText: 'Alternative 1 of 2' }).waitFor();
    if (images) await bench.screenshot(path.join(images, 'infill-alternatives.png'));
    await bench.press('Alt+]');
    await bench.waitForStatus(/Infill 2 of 2/);
    await bench.press('Alt+]');
    await bench.waitForStatus(/Infill 1 of 2/);
    await bench.page.locator('.codelens-decoration', { hasText: 'Alternative 1 of 2' }).locator('a', { hasText: 'Accept' }).click();
    await bench.waitForStatus(/Ready/);
    const first = fillsAt(original, await bench.text(), offsets);
    assert.notDeepEqual(first, second);
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'an infill waits while another file is in front'(bench) {
    const original = await bench.text();
    await threeCursors(bench);
    await bench.press(...FILL);
    await bench.waitForStatus(/accept or reject/);
    await bench.openFile('budget.rs');
    await bench.press('Escape');
    await bench.openFile('multiple.rs');
    await bench.waitForStatus(/accept or reject/);
    await until('the fills are marked again', async () => (await bench.page.locator('.view-lines + * [class*="ced-"], .view-overlays [class*="ced-"]').count()) > 0);
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    assert.equal(await bench.text(), original);
  },

  async 'typing on keeps the fill'(bench) {
    const original = await bench.text();
    await threeCursors(bench);
    await bench.press(...FILL);
    await bench.waitForStatus(/accept or reject/);
    await bench.type('x');
    await bench.waitForStatus(/Ready/);
    const fills = fillsAt(original, await bench.text(), holesOf(original));
    assert.ok(fills.every((fill) => fill.endsWith('x')), JSON.stringify(fills));
    await bench.press('Escape', 'Control+z', 'Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'selected text is replaced and shown struck through'(bench, { images }) {
    await bench.openFile('budget.rs');
    const original = await bench.text();
    await bench.goTo(48, 22);
    await bench.press('Shift+End');
    await bench.press(...FILL);
    await bench.waitForStatus(/accept or reject/);
    const removed = await until('the old text is shown', async () => (await preview(bench)).find(({ text }) => text.includes('Budget::new()')));
    assert.ok(removed);
    if (images) await bench.screenshot(path.join(images, 'infill-selection.png'));
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    assert.equal(await bench.text(), original);
  },

  async 'holes after wide characters and emoji'(bench) {
    await bench.openFile('wide.rs');
    const original = await bench.text();
    await bench.goTo(3);
    await bench.press('End', 'Control+Alt+ArrowDown', 'End');
    await bench.press(...FILL);
    await bench.waitForStatus(/accept or reject/);
    await bench.press('Control+Enter');
    await bench.waitForStatus(/Ready/);
    const fills = fillsAt(original, await bench.text(), offsetsAfter(original, '.len(),'));
    assert.equal(fills.length, 2);
    assert.ok(fills.some((fill) => fill !== ''));
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'Escape stops the work of the server'(bench, { images }) {
    await bench.openFile('slow.rs');
    const original = await bench.text();
    const [pid, ...more] = bench.servers();
    assert.deepEqual(more, []);
    await bench.goTo(4, 5);
    await bench.press('Shift+Control+ArrowRight', 'Control+Shift+l', 'End');
    await bench.press(...FILL);
    await bench.waitForStatus(/Filling 24 hole/);
    await waitForText(bench);
    if (images) {
      process.kill(pid, 'SIGSTOP');
      await bench.screenshot(path.join(images, 'infill-denoising.png')).finally(() => process.kill(pid, 'SIGCONT'));
    }
    const start = ticks(pid);
    await until('the server works', () => ticks(pid) >= start + 20);
    assert.match(await bench.status(), /Filling 24 hole/, 'the infill must last longer than it takes to cancel it');
    await bench.press('Escape');
    await bench.waitForStatus(/Ready.*cancelled/);
    // One forward may still end.
    await sleep(300);
    const idleStart = ticks(pid);
    await sleep(2_000);
    const used = ticks(pid) - idleStart;
    assert.ok(used <= 3, `the server used ${used} ticks in two seconds after it was cancelled`);
    assert.equal(await bench.text(), original);
    assert.equal((await preview(bench)).length, 0);
  },
};
