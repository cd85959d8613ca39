import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { test } from 'node:test';

import { examine, launchOf } from '../../src/doctor.ts';
import type { Translate } from '../../src/status_text.ts';

const t: Translate = (message, ...values) => message.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)]));
const SETTINGS = { path: '', model: '/models/plus', logLevel: 'info', environment: { DIFFCODER_SERVER_STATS: 'false' } };

/** What `examine` makes of a program with this script. */
async function examined(script: string, patienceMs?: number): Promise<{ text: string; program: string }> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-doctor-'));
  const program = path.join(folder, 'program');
  try {
    fs.writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { text: await examine(program, launchOf(SETTINGS), t, patienceMs), program };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

test('the check has the model and the settings of the server', async () => {
  const { text } = await examined('echo "$@ $DIFFCODER_SERVER_STATS $DIFFCODER_LOG"');
  assert.equal(text, 'doctor --model /models/plus false info\n');
});

test('a report of something wrong is a report', async () => {
  assert.equal((await examined('echo "error model"; exit 1')).text, 'error model\n');
});

test('a program without a report says why', async () => {
  const { text, program } = await examined('echo "unknown command doctor" >&2; exit 2');
  assert.equal(text, `${program} could not check itself: unknown command doctor`);
  assert.match(await examine('/gone/program', launchOf(SETTINGS), t), /^\/gone\/program could not check itself: .*ENOENT/);
});

test('a check that hangs is ended', async () => {
  assert.equal((await examined('exec sleep 60', 200)).text, 'The check did not end within 0.2 s.');
});
