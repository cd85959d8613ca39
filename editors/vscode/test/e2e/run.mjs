// Drives the packaged extension with the real server in a real VS Code workbench:
//   node editors/vscode/test/e2e/run.mjs --server target/release/diffcoder-lsp [--cache DIR] [--images] [--only REGEXP] [--vscode-version newest|oldest] [--setup]
// --images writes the README's screenshots, of the newest VS Code. --vscode-version oldest tests in the oldest that the manifest allows.
// --setup stops once everything is installed. The cache (about 1 GB) holds VS Code, Node and what they need.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const EXTENSION = fileURLToPath(new URL('../..', import.meta.url));
const ROOT = path.join(EXTENSION, '..', '..');

const { values } = parseArgs({
  options: {
    server: { type: 'string', default: path.join(ROOT, 'target', 'release', 'diffcoder-lsp') },
    cache: { type: 'string', default: process.env.EDITOR_TEST_E2E_CACHE ?? path.join(ROOT, 'target', 'e2e', 'vscode') },
    images: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    'vscode-version': { type: 'string', default: 'newest' },
    setup: { type: 'boolean', default: false },
  },
});
const server = path.resolve(values.server);
const cache = path.resolve(values.cache);
if (!values.setup && !fs.existsSync(server)) {
  console.error(`no server at ${server}: build it with "cargo build --release", or name one with --server`);
  process.exit(2);
}

if (values.images && values['vscode-version'] !== 'newest') {
  console.error('--images needs the newest VS Code: leave out --vscode-version');
  process.exit(2);
}

const { setUp } = await import('./setup.mjs');
const tools = setUp(cache, values['vscode-version']);
console.log(`VS Code ${tools.vscode}`);
if (values.setup) process.exit(0);
// After setup: these need packages that it installs.
const { pack } = await import('../../package.mjs');
const { scenarios } = await import('./scenarios.mjs');
const { Workbench } = await import('./workbench.mjs');

const target = `${process.platform}-${process.arch}`;
const packages = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-packages-'));
const vsix = path.join(packages, 'diffcoder.vsix');
const vsixWithoutServer = path.join(packages, 'diffcoder-bare.vsix');
const failures = [];
let n_passed = 0;
let isStopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, async () => {
    isStopped = true;
    await Promise.all([...Workbench.all].map((bench) => bench.close()));
    fs.rmSync(packages, { recursive: true, force: true });
    process.exit(130);
  });
}
try {
  pack({ out: vsix, server, target });
  pack({ out: vsixWithoutServer });
  const setting = { tools, vsix, vsixWithoutServer, root: ROOT, logs: path.join(cache, 'logs'), images: values.images ? path.join(EXTENSION, 'docs', 'images') : undefined };
  for (const scenario of scenarios) await play(scenario, setting);
} finally {
  fs.rmSync(packages, { recursive: true, force: true });
}
console.log(`${n_passed} passed, ${failures.length} failed`);
for (const failure of failures) console.log(`failed: ${failure}`);
process.exitCode = failures.length === 0 && n_passed > 0 ? 0 : 1;

/** A scenario is one workbench and the tests in it, in order. */
async function play({ name, open, tests }, setting) {
  const chosen = Object.entries(tests).filter(([test]) => new RegExp(values.only).test(`${name}: ${test}`));
  if (chosen.length === 0 || isStopped) return;
  const logs = path.join(setting.logs, name.replaceAll(' ', '-'));
  const start = Date.now();
  let bench;
  try {
    bench = await open({ ...setting, logs });
  } catch (error) {
    failed(`${name}: the workbench opens`, error);
    return;
  }
  for (const [test, run] of chosen) {
    const testStart = Date.now();
    try {
      await run(bench, setting);
      if (isStopped) return;
      n_passed += 1;
      console.log(`ok      ${name}: ${test} (${Date.now() - testStart} ms)`);
    } catch (error) {
      if (isStopped) return;
      const picture = path.join(logs, `${test.replaceAll(' ', '-')}.png`);
      await bench.screenshot(picture).catch(() => {});
      failed(`${name}: ${test}`, error, picture);
    }
  }
  const left = await bench.close();
  if (left.length > 0) failed(`${name}: no process is left`, new Error(left.join('; ')));
  console.log(`        ${name}: ${Date.now() - start} ms in all`);
}

function failed(name, error, picture) {
  failures.push(name);
  console.log(`FAILED  ${name}${picture ? ` (${picture})` : ''}\n${error.stack}`);
}
