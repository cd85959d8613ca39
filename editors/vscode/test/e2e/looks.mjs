// The status bar menu, pause, language off, and the themes.

import assert from 'node:assert/strict';
import path from 'node:path';

import { threeCursors } from './infill.mjs';
import { until } from './workbench.mjs';

async function choose(bench, label) {
  await bench.statusItem.locator('a').click();
  await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: label }).click();
  await bench.page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
  await bench.focusEditor();
}

export const tests = {
  async 'the menu pauses and resumes'(bench) {
    await bench.openFile('budget.rs');
    await bench.statusItem.locator('a').click();
    await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Fill All Holes' }).waitFor();
    await bench.press('Escape');
    await bench.page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
    await choose(bench, 'Pause suggestions');
    await bench.waitForStatus(/Paused/);
    await bench.goTo(49, 33);
    await bench.press('Backspace');
    await bench.type(',');
    await bench.waitForStatus(/Nothing was shown: suggestions are paused/);
    assert.equal(await bench.ghostText(), '');
    await choose(bench, 'Resume suggestions');
    await bench.waitForStatus(/Ready/);
    await bench.press('Backspace');
    await bench.type(',');
    await bench.waitForGhostText();
    await bench.press('Escape');
  },

  async 'the menu switches a language off and on'(bench) {
    await choose(bench, 'Switch suggestions off for rust');
    await bench.waitForStatus(/Suggestions are off for rust/);
    await until('the settings say so', () => bench.settings()['[rust]']?.['diffcoder.enable'] === false);
    await bench.goTo(49, 33);
    await bench.press('Backspace');
    await bench.type(',');
    await bench.waitForStatus(/Nothing was shown: suggestions are off for rust/);
    assert.equal(await bench.ghostText(), '');
    await choose(bench, 'Switch suggestions on for rust');
    await bench.waitForStatus(/Ready/);
  },
};

/** The workbench's class of a kind of theme, and the picture. */
export function testsOfTheme(kind, picture) {
  return {
    async 'a proposed infill is marked'(bench, { images }) {
      await bench.openFile('looks.rs');
      await bench.page.locator(`.monaco-workbench${kind}`).waitFor();
      await threeCursors(bench);
      await bench.press('Control+k', 'Control+Enter');
      await bench.waitForStatus(/accept or reject/);
      await bench.page.locator('.codelens-decoration', { hasText: 'Accept' }).waitFor();
      if (images) await bench.screenshot(path.join(images, picture));
    },
  };
}
