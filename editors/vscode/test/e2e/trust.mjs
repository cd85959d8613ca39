// Restricted Mode: the extension works, and the workspace cannot choose the program that runs.

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
  async 'suggestions work and the workspace cannot name the server'(bench, { images }) {
    fs.chmodSync(path.join(bench.workspace, 'trap'), 0o755);
    await bench.openFile('budget.rs');
    await bench.page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor();
    await bench.goTo(49, 33);
    await bench.press('Backspace');
    await bench.type(',');
    await bench.waitForGhostText();
    if (images) await bench.screenshot(path.join(images, 'restricted-mode.png'));
    assert.equal(bench.servers().length, 1);
    assert.ok(!fs.existsSync(path.join(bench.workspace, 'sprung')), 'the program that the workspace named was run');
    // The trap works: with the setting in force it would have sprung.
    spawnSync(path.join(bench.workspace, 'trap'));
    assert.ok(fs.existsSync(path.join(bench.workspace, 'sprung')));
  },
};
