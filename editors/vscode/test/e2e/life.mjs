// The server's life: it comes back after a crash, gives up after many, and its absence is explained.

import assert from 'node:assert/strict';
import path from 'node:path';

import { isAlive } from './processes.mjs';
import { until } from './workbench.mjs';

async function killServer(bench) {
  const [pid, ...more] = await until('a server runs', () => bench.servers().length > 0 && bench.servers());
  assert.deepEqual(more, []);
  process.kill(pid, 'SIGKILL');
  await until('it is dead', () => !isAlive(pid));
  return pid;
}

export const tests = {
  async 'the server comes back after it was killed'(bench) {
    await bench.openFile('budget.rs');
    const old = await killServer(bench);
    await until('another one runs', () => bench.servers().some((pid) => pid !== old));
    await bench.waitForStatus(/Ready/);
    await bench.goTo(49, 33);
    await bench.press('Backspace');
    await bench.type(',');
    await bench.waitForGhostText();
    await bench.press('Escape');
  },

  async 'after many ends it stays down and says so'(bench, { images }) {
    for (let end = 0; end < 10 && !/does not run/.test(await bench.status()); end++) {
      await killServer(bench);
      await bench.waitForStatus(/The server ended|does not run/);
      await bench.waitForStatus(/Ready|does not run/);
    }
    await bench.waitForStatus(/does not run/);
    const notice = bench.page.locator('.notification-toast', { hasText: 'stays down' });
    await notice.waitFor();
    if (images) await bench.screenshot(path.join(images, 'server-down.png'));
    await notice.getByRole('button', { name: 'Restart' }).click();
    await bench.waitForStatus(/Ready/);
  },

  async 'restart leaves one server'(bench) {
    const [old] = bench.servers();
    await bench.command('diffcoder: Restart Server');
    await until('the old one is gone', () => !isAlive(old));
    await bench.waitForStatus(/Ready/);
    assert.equal(bench.servers().length, 1);
  },

  async 'the menu leads to the report of the check'(bench) {
    await bench.openFile('budget.rs');
    await bench.statusItem.click();
    const entry = bench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Check the installation' });
    const input = bench.quickInput;
    await input.fill('Check the installation');
    await entry.first().waitFor();
    await bench.press('Enter');
    await bench.page.locator('.tab.active', { hasText: 'diffcoder doctor' }).waitFor();
    await until('the report has an infill', async () => /ok\s+infill:/.test(await bench.editor.locator('.view-lines').innerText()));
    await bench.openFile('budget.rs');
  },
};

export const testsWithoutServer = {
  async 'a missing server is explained'(bench) {
    await bench.openFile('budget.rs', { ready: false });
    await bench.waitForStatus(/diffcoder-lsp was not found/);
    const notice = bench.page.locator('.notification-toast', { hasText: 'cargo install --path lsp' });
    await notice.waitFor();
    await notice.getByRole('button', { name: 'Open Settings' }).click();
    await bench.page.locator('.settings-editor').waitFor();
    assert.equal(bench.servers().length, 0);
  },
};
