// First use: the walkthrough with its example, and the steps that count as done.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { files, fillsAt, offsetsAfter } from './files.mjs';
import { retype } from './suggestions.mjs';
import { Workbench, until } from './workbench.mjs';

export async function open({ tools, vsix, logs, root, settings }) {
  return Workbench.open({ tools, vsix, logs, files: files(root), settings });
}

/** The steps of the walkthrough in front: title, and whether it counts as done. */
async function steps(bench) {
  return bench.page.evaluate(() =>
    [...document.querySelectorAll('.getting-started-step')].map((step) => ({
      title: step.querySelector('.step-title')?.textContent,
      isDone: step.querySelector('[role="checkbox"]')?.getAttribute('aria-checked') === 'true',
    })),
  );
}

async function waitUntilDone(bench, title) {
  await until(`"${title}" counts as done`, async () => (await steps(bench)).some((step) => step.title === title && step.isDone));
}

/** Opens a step of the walkthrough and clicks its button. */
async function click(bench, title, button) {
  await bench.page.locator('.getting-started-step .step-title', { hasText: title }).first().click();
  await bench.page.locator('.getting-started-step.expanded .monaco-button', { hasText: button }).first().click();
}

/** The text of the editor in front, of which every line is in sight. */
async function visibleText(bench) {
  const lines = await bench.page.locator('.editor-instance .monaco-editor.focused .view-line').evaluateAll((all) =>
    all.sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map((line) => line.textContent),
  );
  return lines.join('\n').replaceAll('\u00a0', ' ');
}

const EXAMPLE = fs.readFileSync(new URL('../../media/walkthrough/example.rs.txt', import.meta.url), 'utf8').replaceAll('\u00a6', '');

/** Where the three statements end. */
const holesOf = (text) => offsetsAfter(text, 'self.items.').filter((offset) => text[offset] === '\n');

export const tests = {
  async 'the example opens with three cursors'(bench, { images }) {
    await bench.openFile('budget.rs');
    await bench.command('diffcoder: Open an Example');
    await bench.page.locator('.tab.active', { hasText: 'Untitled' }).waitFor();
    await until('three cursors', async () => (await bench.page.locator('.editor-instance .monaco-editor.focused .cursor').count()) === 3);
    if (images) await bench.screenshot(path.join(images, 'example.png'));
  },

  async 'the walkthrough shows its steps'(bench, { images }) {
    await bench.command('diffcoder: Welcome');
    await bench.page.getByText('Try it on an example').first().waitFor();
    await until('its picture is loaded', () =>
      bench.page.evaluate(() => [...document.querySelectorAll('.gettingStartedContainer img')].some((image) => image.naturalWidth > 0)),
    );
    assert.equal((await steps(bench)).length, 8);
    if (!images) return;
    // In a narrow window the pictures are below the steps, out of sight.
    const size = bench.page.viewportSize();
    await bench.page.setViewportSize({ width: 1400, height: 800 });
    await bench.screenshot(path.join(images, 'walkthrough.png'));
    await bench.page.setViewportSize(size);
  },

  async 'an accepted suggestion counts as done'(bench) {
    await bench.openFile('budget.rs');
    await retype(bench);
    await bench.press('Tab');
    await bench.command('diffcoder: Welcome');
    await waitUntilDone(bench, 'Suggestions while you type');
  },

  async 'its buttons lead through an infill of the example'(bench) {
    await click(bench, 'Try it on an example', 'Open the Example');
    await until('three cursors', async () => (await bench.page.locator('.editor-instance .monaco-editor.focused .cursor').count()) === 3);
    await click(bench, 'Fill several holes at once', 'Infill Selection(s)');
    await bench.waitForStatus(/Infill 1 of 1: accept or reject/);
    await click(bench, 'Take it, or have it drawn again', 'Accept');
    await bench.waitForStatus(/Ready/);
    for (const title of ['Try it on an example', 'Fill several holes at once', 'Take it, or have it drawn again']) await waitUntilDone(bench, title);
    await bench.press('Control+2');
    let seen = '';
    const fills = await until('the fills are in the text, and nothing else', async () => {
      seen = await visibleText(bench);
      try {
        return fillsAt(EXAMPLE, seen, holesOf(EXAMPLE));
      } catch {
        return undefined;
      }
    }).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(seen)}`));
    assert.ok(fills.some((fill) => fill !== ''), JSON.stringify(fills));
  },
};
