// Packs the extension, with a server inside if one is given:
//   node package.mjs --out diffcoder.vsix [--target linux-x64 --server path/to/diffcoder-lsp]

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Writes the package to `out`. A server needs the `target` platform that it was built for. */
export function pack({ out, server, target }) {
  if ((server === undefined) !== (target === undefined)) throw new Error('--server and --target go together');
  run(process.execPath, [path.join(here, 'esbuild.mjs')]);
  // In a copy, so that a server never stays behind for the next package, perhaps of another platform.
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'diffcoder-vsix-'));
  try {
    for (const name of fs.readdirSync(here)) {
      if (['node_modules', 'server', 'test', 'src'].includes(name) || name.endsWith('.vsix')) continue;
      fs.cpSync(path.join(here, name), path.join(stage, name), { recursive: true });
    }
    if (server !== undefined) {
      const program = path.join(stage, 'server', target.startsWith('win32') ? 'diffcoder-lsp.exe' : 'diffcoder-lsp');
      fs.mkdirSync(path.dirname(program));
      fs.copyFileSync(server, program);
      fs.chmodSync(program, 0o755);
    }
    const vsce = path.join(here, 'node_modules', '@vscode', 'vsce', 'vsce');
    const platform = target === undefined ? [] : ['--target', target];
    run(process.execPath, [vsce, 'package', '--no-dependencies', '--allow-missing-repository', '--no-rewrite-relative-links', ...platform, '--out', path.resolve(out)], stage);
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
}

function run(program, args, cwd = here) {
  const done = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${path.basename(args[0])} failed: ${done.stdout}${done.stderr}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { out: { type: 'string', default: 'diffcoder.vsix' }, server: { type: 'string' }, target: { type: 'string' } },
  });
  pack(values);
  console.log(values.out);
}
