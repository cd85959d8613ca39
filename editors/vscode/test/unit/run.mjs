// Runs the tests of the parts that need no editor.

import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const outdir = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-unit-'));
try {
  const tests = fs.readdirSync(here).filter((name) => name.endsWith('.test.ts'));
  await build({
    entryPoints: tests.map((name) => path.join(here, name)),
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    define: { EXTENSION_FOLDER: JSON.stringify(path.join(here, '..', '..')) },
    sourcemap: 'inline',
  });
  const bundles = tests.map((name) => path.join(outdir, name.replace(/ts$/, 'mjs')));
  const done = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...bundles], { stdio: 'inherit' });
  process.exitCode = done.status ?? 1;
} finally {
  fs.rmSync(outdir, { recursive: true, force: true });
}
