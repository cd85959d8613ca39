// Restricted Mode: the extension works, and the workspace cannot choose the program that runs.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { files } from './files.mjs';
import { Workbench } from './workbench.mjs';

const MARKER = path.join(os.tmpdir(), `diffcoder-e2e-marker-${process.pid}`);
const TRAP = path.join(os.tmpdir(), `diffcoder-e2e-trap-${process.pid}`);

export async function open({ tools, vsix, logs, root }) {
  fs.writeFileSync(TRAP, `#!/bin/sh\ntouch ${MARKER}\n`, { mode: 0o755 });
  const settings = JSON.stringify({ 'diffcoder.server.path': TRAP, 'diffcoder.server.model': path.dirname(TRAP) });
  return Workbench.open({
    tools,
    vsix,
    logs,
    trust: true,
    files: { ...files(root), '.vscode/settings.json': settings },
    settings: { 'security.workspace.trust.startupPrompt': 'never', 'security.workspace.trust.banner': 'always' },
  });
}

export const tests = {
  async 'suggestions work and the workspace cannot name the server'(bench, { images }) {
    try {
      await bench.openFile('budget.rs');
      await bench.page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor();
      await bench.goTo(49, 33);
      await bench.press('Backspace');
      await bench.type(',');
      await bench.waitForGhostText();
      if (images) await bench.screenshot(path.join(images, 'restricted-mode.png'));
      assert.equal(bench.servers().length, 1);
      assert.ok(!fs.existsSync(MARKER), 'the program that the workspace named was run');
    } finally {
      fs.rmSync(TRAP, { force: true });
      fs.rmSync(MARKER, { force: true });
    }
  },
};
