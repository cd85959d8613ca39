// A VS Code workbench of its own: web server, browser, folders; and the hands and eyes of a user in it.

import { spawn, spawnSync } from 'node:child_process';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

import * as processes from './processes.mjs';

/** For one thing that should happen at once; generous, since the machine may be busy. */
export const PATIENCE_MS = 60_000;
/** For the start of the workbench: some 20 MB of script. */
const START_MS = 240_000;

const QUIET = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'telemetry.telemetryLevel': 'off',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'chat.disableAIFeatures': true,
  'files.autoSave': 'off',
  'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' },
  'editor.suggestOnTriggerCharacters': false,
  'editor.parameterHints.enabled': false,
  'editor.occurrencesHighlight': 'off',
  'editor.accessibilitySupport': 'off',
  'editor.minimap.enabled': false,
  'editor.fontSize': 14,
  'git.enabled': false,
  'editor.stickyScroll.enabled': false,
  'workbench.colorTheme': 'Default Dark Modern',
};

/** Waits until `look` gives something truthy, and gives it. */
export async function until(what, look, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Workbench {
  /** Those that are open or about to be. */
  static all = new Set();

  /** `tools` from setup, the package to install if any, files of the workspace (or a function of its folder), further settings, those of the machine, whether trust is asked for, whether only what is sure enough is shown. */
  static async open({ tools, vsix, files, settings = {}, machine = {}, trust = false, logs, shownAsServed = false }) {
    const bench = new Workbench();
    Workbench.all.add(bench);
    bench.root = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-e2e-'));
    bench.logs = logs;
    fs.mkdirSync(logs, { recursive: true });
    try {
      bench.setMachine(machine);
      await bench.start(tools, vsix, files, { ...QUIET, 'security.workspace.trust.enabled': trust, ...settings }, trust, shownAsServed);
    } catch (error) {
      await bench.close();
      throw error;
    }
    return bench;
  }

  /** Settings that a workspace cannot make: in a browser they are the remote's, not the user's. */
  setMachine(settings) {
    fs.writeFileSync(path.join(this.folder('data/Machine'), 'settings.json'), JSON.stringify(settings, null, 2));
  }

  folder(name) {
    const folder = path.join(this.root, name);
    fs.mkdirSync(folder, { recursive: true });
    return folder;
  }

  async start(tools, vsix, files, settings, trust, shownAsServed) {
    this.workspace = this.folder('workspace');
    for (const [name, text] of Object.entries(typeof files === 'function' ? files(this.workspace) : files)) {
      const file = path.join(this.workspace, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, text);
    }
    this.settingsFile = path.join(this.folder('data/User'), 'settings.json');
    fs.writeFileSync(this.settingsFile, JSON.stringify(settings, null, 2));
    const home = this.folder('home');
    // A server on the tester's PATH must not stand in for the one in the package.
    const env = { ...process.env, HOME: home, XDG_CONFIG_HOME: path.join(home, '.config'), XDG_DATA_HOME: path.join(home, '.local'), PATH: '/usr/bin:/bin' };
    // These tests are about the editor: they see also what the model is less sure of.
    if (!shownAsServed) env.DIFFCODER_COMPLETION_SHOW_THRESHOLD = '0';
    const base = [tools.codeServer, '--user-data-dir', this.folder('data'), '--extensions-dir', this.folder('extensions')];
    if (vsix !== undefined) {
      const installed = spawnSync(tools.node, [...base, '--install-extension', vsix], { env, encoding: 'utf8' });
      assert.equal(installed.status, 0, installed.stdout + installed.stderr);
    }
    this.port = await freePort();
    const log = fs.openSync(path.join(this.logs, 'code-server.log'), 'a');
    const flags = ['--auth', 'none', '--bind-addr', `127.0.0.1:${this.port}`, '--disable-telemetry', '--disable-update-check', '--disable-getting-started-override'];
    this.server = spawn(tools.node, [...base, ...flags, ...(trust ? [] : ['--disable-workspace-trust']), this.workspace], {
      env,
      stdio: ['ignore', log, log],
      detached: true,
    });
    fs.closeSync(log);
    await until('code-server is healthy', () => fetch(`http://127.0.0.1:${this.port}/healthz`).then((answer) => answer.ok, () => false), START_MS);
    this.context = await chromium.launchPersistentContext(this.folder('chromium'), {
      executablePath: tools.chromium,
      timeout: START_MS,
      headless: true,
      // Pictures of half-faded menus are no use.
      reducedMotion: 'reduce',
      viewport: { width: 1000, height: 640 },
      permissions: ['clipboard-read', 'clipboard-write'],
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    });
    this.page = this.context.pages()[0] ?? (await this.context.newPage());
    this.page.setDefaultTimeout(PATIENCE_MS);
    const console = fs.createWriteStream(path.join(this.logs, 'console.log'), { flags: 'a' });
    this.page.on('console', (message) => console.write(`${message.type()} ${message.text()}\n`));
  }

  /** Opens a file of the workspace; the first one brings up the workbench and waits for the extension. */
  async openFile(name, { ready = true } = {}) {
    this.file = path.join(this.workspace, name);
    if (this.isUp) {
      await this.press('Control+p');
      await this.quickInput.waitFor();
      // Its whole path, since an older VS Code finds no file by name here: its search program is downloaded when it is installed.
      await this.quickInput.fill(this.file);
      await this.page.locator('.quick-input-list .monaco-list-row.focused', { hasText: path.basename(name) }).first().waitFor();
      await this.press('Enter');
    } else {
      const payload = JSON.stringify([['openFile', `vscode-remote://127.0.0.1:${this.port}${this.file}`]]);
      const query = `folder=${encodeURIComponent(this.workspace)}&payload=${encodeURIComponent(payload)}`;
      await this.page.goto(`http://127.0.0.1:${this.port}/?${query}`, { waitUntil: 'domcontentloaded', timeout: START_MS });
      await this.page.locator('.monaco-workbench').waitFor({ timeout: START_MS });
      this.isUp = true;
      // The side bar takes space in the pictures.
      await this.page.locator('.tab.active').first().waitFor({ timeout: START_MS });
      await this.press('Control+b');
    }
    await this.page.locator('.tab.active', { hasText: path.basename(name) }).first().waitFor();
    await this.editor.locator('.view-line').first().waitFor();
    if (ready) await this.waitForStatus(/Ready|Paused|off for|accept or reject/);
    await this.focusEditor();
  }

  async focusEditor() {
    await this.press('Control+1');
    await this.page.locator('.editor-instance .monaco-editor.focused').first().waitFor();
  }

  async waitForStatus(pattern) {
    let last = '';
    try {
      return await until(`the status is ${pattern}`, async () => pattern.test((last = await this.status())) && last);
    } catch (error) {
      error.message += `; it is "${last}"`;
      throw error;
    }
  }

  get editor() {
    return this.page.locator('.editor-instance .monaco-editor').first();
  }

  /** Where the palette and its like are typed into; older ones have check boxes besides. */
  get quickInput() {
    return this.page.locator('.quick-input-widget input[type="text"]');
  }

  get statusItem() {
    return this.page.locator('[id="diffcoder.diffcoder.status"]');
  }

  /** What a screen reader reads on the status bar item; empty if there is none yet. */
  async status() {
    const item = this.statusItem.locator('[aria-label]').or(this.statusItem).first();
    if ((await this.statusItem.count()) === 0) return '';
    const label = await item.getAttribute('aria-label', { timeout: 1_000 }).catch(() => null);
    return label ?? '';
  }

  async type(text) {
    await this.page.keyboard.type(text, { delay: 20 });
  }

  async press(...keys) {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Puts the cursor on a line and column, both from 1. */
  async goTo(line, column = 1) {
    await this.press('Control+g');
    await this.quickInput.waitFor();
    await this.quickInput.fill(`:${line}:${column}`);
    await this.press('Enter');
    await this.quickInput.waitFor({ state: 'hidden' });
  }

  /** The text of suggestions that is on the screen. */
  async ghostText() {
    const parts = await this.page.locator('.ghost-text, .ghost-text-decoration, .ghost-text-decoration-preview, .suggest-preview-text').allTextContents();
    return parts.join('').replaceAll('\u00a0', ' ');
  }

  async waitForGhostText() {
    return until('ghost text appears', () => this.ghostText());
  }

  /** Saves and reads the file; the text of the editor is nowhere else in full. */
  async text() {
    await this.press('Control+s');
    await until('the file counts as saved', async () => !(await this.isDirty()));
    // The file is cut to nothing before it is written.
    return until('the file is written', () => {
      const quiet = Date.now() - fs.statSync(this.file).mtimeMs > 150;
      return quiet && fs.readFileSync(this.file, 'utf8');
    });
  }

  async isDirty() {
    return (await this.page.locator('.tab.active.dirty').count()) > 0;
  }

  /** Runs a command of the palette by its full title. */
  async command(title) {
    await this.press('F1');
    await this.quickInput.waitFor();
    await this.quickInput.fill(`>${title}`);
    await this.page.locator('.quick-input-list .monaco-list-row.focused', { hasText: title }).first().waitFor();
    await this.press('Enter');
  }

  settings() {
    return JSON.parse(fs.readFileSync(this.settingsFile, 'utf8'));
  }

  /** Ids of the language server's processes that this workbench started. */
  servers() {
    return processes.descendants(this.server.pid).filter((pid) => processes.program(pid)?.endsWith('/diffcoder-lsp'));
  }

  async screenshot(name, options = {}) {
    // A hover that is still fading in cannot be read.
    await this.page.waitForFunction(() => document.getAnimations().every(({ effect, playState }) => playState !== 'running' || effect.getComputedTiming().endTime === Infinity));
    await this.page.screenshot({ path: name, ...options });
  }

  /** Ends everything it started; processes that were left although they had time to go. */
  async close() {
    const pids = this.server ? [this.server.pid, ...processes.descendants(this.server.pid)] : [];
    await this.context?.close().catch(() => {});
    if (this.server) {
      process.kill(-this.server.pid, 'SIGTERM');
      await until('the processes end', () => pids.every((pid) => !processes.isAlive(pid)), 15_000).catch(() => {});
    }
    const left = pids.filter(processes.isAlive).map((pid) => `${pid} ${processes.program(pid)}`);
    for (const pid of pids.filter(processes.isAlive)) process.kill(pid, 'SIGKILL');
    fs.rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
    Workbench.all.delete(this);
    return left;
  }
}

async function freePort() {
  return new Promise((resolve) => {
    const socket = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
