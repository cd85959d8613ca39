// Takes times and memory of the packaged extension in a real VS Code workbench, with the real server:
//   node editors/vscode/test/e2e/measure.mjs --server target/release/diffcoder-lsp [--cache DIR] [--places N] [--starts N]
// Prints what it measured, one figure a line. Nothing here passes or fails; whatever takes too long ends it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const EXTENSION = fileURLToPath(new URL('../..', import.meta.url));
const ROOT = path.join(EXTENSION, '..', '..');
/** For all of it. */
const PATIENCE_MS = 360_000;
/** For one suggestion; a place where none comes counts as one without. */
const SAMPLE_MS = 4_000;

const { values } = parseArgs({
  options: {
    server: { type: 'string', default: path.join(ROOT, 'target', 'release', 'diffcoder-lsp') },
    cache: { type: 'string', default: process.env.EDITOR_TEST_E2E_CACHE ?? path.join(ROOT, 'target', 'e2e', 'vscode') },
    places: { type: 'string', default: '30' },
    starts: { type: 'string', default: '8' },
  },
});

const { setUp } = await import('./setup.mjs');
const tools = setUp(path.resolve(values.cache));
const { pack } = await import('../../package.mjs');
const { Workbench } = await import('./workbench.mjs');
const { descendants } = await import('./processes.mjs');

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-measure-'));
const vsix = path.join(folder, 'diffcoder.vsix');
let bench;
const alarm = setTimeout(() => end(`not done after ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => end(signal));
try {
  pack({ out: vsix, server: path.resolve(values.server), target: `${process.platform}-${process.arch}` });
  bench = await Workbench.open({
    tools,
    vsix,
    logs: path.join(folder, 'logs'),
    shownAsServed: true,
    files: { 'places.rs': places(Number(values.places)) },
  });
  say('load before', os.loadavg().map((load) => load.toFixed(1)).join(' '));
  await bench.openFile('places.rs');
  say('server, start to the answer to initialize, ms', (await serverStarts(5)).join(' '));
  await suggestions();
  const host = await extensionHost();
  say('server, MB', bench.servers().map(megabytes).join(' and '));
  say('activation, as VS Code lists it, ms', (await activations(Number(values.starts))).join(' '));
  await bench.close();
  bench = await Workbench.open({ tools, logs: path.join(folder, 'logs'), files: { 'places.rs': places(Number(values.places)) } });
  await bench.openFile('places.rs', { ready: false });
  const without = await extensionHost();
  say('extension host with this extension / without / difference, MB', `${host} / ${without} / ${host - without}`);
  say('load after', os.loadavg().map((load) => load.toFixed(1)).join(' '));
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await end();
}

async function end(why) {
  clearTimeout(alarm);
  await bench?.close();
  fs.rmSync(folder, { recursive: true, force: true });
  if (why === undefined) return;
  console.error(why);
  process.exit(1);
}

function say(what, figure) {
  console.log(`${what}: ${figure}`);
}

/** Tests that all differ, each with an assertion that lacks its last argument. */
function places(n) {
  const names = ['numbers', 'prices', 'names', 'lines', 'parts', 'words', 'totals', 'rows', 'items', 'keys'];
  const test = (_, i) => {
    const name = names[i % names.length];
    const items = Array.from({ length: 1 + (i % 7) }, (_, at) => at + i).join(', ');
    return `    #[test]\n    fn ${name}_have_a_length_${i}() {\n        let ${name} = vec![${items}];\n        assert_eq!(${name}.len()\n    }\n`;
  };
  return `#[cfg(test)]\nmod tests {\n${Array.from({ length: n }, test).join('\n')}}\n`;
}

/** From the key to the frame that shows the suggestion, VS Code's own wait included. */
async function suggestions() {
  const lines = fs.readFileSync(bench.file, 'utf8').split('\n');
  await bench.page.evaluate(watch);
  const times = [];
  let n = 0;
  for (const [index, line] of lines.entries()) {
    if (!line.includes('assert_eq!')) continue;
    n += 1;
    await bench.goTo(index + 1, line.length + 1);
    await bench.press('Escape');
    const seen = bench.page.evaluate((patience) => window.nextGhostText(patience), SAMPLE_MS);
    await bench.press(',');
    const time = await seen;
    if (time !== undefined && time !== null) times.push(time);
    await bench.press('Escape');
  }
  times.sort((a, b) => a - b);
  const rank = (share) => (times.length > 0 ? times[Math.min(times.length - 1, Math.floor(share * times.length))].toFixed(0) : 'none');
  say('places with a suggestion', `${times.length} of ${n}`);
  say('key to visible ghost text, p50 / p95 / longest, ms', `${rank(0.5)} / ${rank(0.95)} / ${rank(1)}`);
}

/** Runs in the page. */
function watch() {
  const GHOST = '.ghost-text, .ghost-text-decoration, .ghost-text-decoration-preview';
  const shown = () => [...document.querySelectorAll(GHOST)].some((part) => part.textContent.trim() !== '');
  window.nextGhostText = (patience) =>
    new Promise((resolve) => {
      let pressed;
      const key = () => (pressed = performance.now());
      window.addEventListener('keydown', key, { capture: true, once: true });
      const observer = new MutationObserver(() => {
        if (pressed === undefined || !shown()) return;
        observer.disconnect();
        // After the frame that draws it.
        requestAnimationFrame(() => setTimeout(() => finish(performance.now() - pressed)));
      });
      const timer = setTimeout(() => finish(undefined), patience);
      const finish = (time) => {
        clearTimeout(timer);
        observer.disconnect();
        window.removeEventListener('keydown', key, { capture: true });
        resolve(time);
      };
      observer.observe(document.body, { subtree: true, childList: true, characterData: true });
    });
}

/** The same program outside of the editor, `n` times. */
async function serverStarts(n) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { capabilities: {} } });
  const times = [];
  for (let i = 0; i < n; i += 1) {
    const from = performance.now();
    const child = spawn(path.resolve(values.server), { stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdin.write(`Content-Length: ${body.length}\r\n\r\n${body}`);
    await once(child.stdout, 'data');
    times.push((performance.now() - from).toFixed(0));
    child.kill();
    await once(child, 'close');
  }
  return times;
}

/** Resident memory of the extension host, with all extensions of the workbench: the median of ten readings over twenty seconds. */
async function extensionHost() {
  const readings = [];
  for (let i = 0; i < 10; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const pids = descendants(bench.server.pid);
    const hosts = pids.filter((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=extensionHost'));
    if (hosts.length !== 1) throw new Error(`${hosts.length} extension hosts instead of one`);
    readings.push(megabytes(hosts[0]));
  }
  return readings.sort((a, b) => a - b)[5];
}

function megabytes(pid) {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(kilobytes) / 1024);
}

/** What VS Code itself says in its list of running extensions, for `n` starts of the extension host. */
async function activations(n) {
  const times = [];
  for (let i = 0; i < n; i += 1) {
    await bench.page.reload({ waitUntil: 'domcontentloaded' });
    await bench.waitForStatus(/Ready/);
    await bench.command('Developer: Show Running Extensions');
    const list = bench.page.locator('.runtime-extensions-editor');
    await list.waitFor();
    // Only rows that are in sight are there.
    await bench.page.setViewportSize({ width: 1000, height: 2400 });
    const row = list.locator('.monaco-list-row', { hasText: 'diffcoder' }).first();
    await row.waitFor({ timeout: 10_000 }).catch(async () => {
      throw new Error(`diffcoder is not among the running extensions: ${await list.innerText()}`);
    });
    times.push(/Activation: (\d+)ms/.exec(await row.innerText())?.[1] ?? 'none');
    await bench.press('Control+F4');
  }
  return times;
}
