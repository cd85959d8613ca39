// Restricted Mode: nothing is computed before trust is granted, and the workspace never chooses the program that runs.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { files } from './files.mjs';
import { Workbench } from './workbench.mjs';

export async function open({ tools, vsix, logs, root }) {
  return Workbench.open({
    tools,
    vsix,
    logs,
    trust: true,
    files: (workspace) => {
      const trap = path.join(workspace, 'trap');
      const settings = JSON.stringify({ 'diffcoder.server.path': trap, 'diffcoder.server.model': workspace });
      return { ...files(root), trap: `#!/bin/sh\ntouch ${workspace}/sprung\n`, '.vscode/settings.json': settings };
    },
    settings: { 'security.workspace.trust.startupPrompt': 'never', 'security.workspace.trust.banner': 'always' },
  });
}

export const tests = {
  async 'nothing is computed and the workspace cannot name the server'(bench, { images }) {
    fs.chmodSync(path.join(bench.workspace, 'trap'), 0o755);
    await bench.openFile('budget.rs', { ready: false });
    await bench.page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).first().waitFor();
    await bench.waitForStatus(/Restricted Mode: nothing is computed/);
    await retype(bench);
    // The server's answer, not its silence.
    await bench.waitForStatus(/Nothing was shown: .*not trusted/);
    assert.equal(await bench.ghostText(), '');
    if (images) await bench.screenshot(path.join(images, 'restricted-mode.png'));
    assert.equal(bench.servers().length, 1);
    assert.ok(!hasSprung(bench), 'the program that the workspace named was run');
  },

  async 'suggestions come once the workspace is trusted, from the same program'(bench) {
    const [before] = bench.servers();
    await bench.command('Workspaces: Manage Workspace Trust');
    await bench.page.locator('.workspace-trust-editor .monaco-button', { hasText: /^Trust$/ }).first().click();
    await bench.waitForStatus(/Ready/);
    await bench.openFile('budget.rs');
    await retype(bench);
    await bench.waitForGhostText();
    const [after, ...others] = bench.servers();
    assert.ok(after !== before && others.length === 0, `${before}, then ${[after, ...others]}`);
    assert.ok(!hasSprung(bench), 'the program that the workspace named was run');
    // The trap works: with the setting in force it would have sprung.
    spawnSync(path.join(bench.workspace, 'trap'));
    assert.ok(hasSprung(bench));
  },
};

async function retype(bench) {
  await bench.goTo(49, 33);
  await bench.press('Backspace');
  await bench.type(',');
}

function hasSprung(bench) {
  return fs.existsSync(path.join(bench.workspace, 'sprung'));
}
