// Bundles the extension into dist/extension.js, with the notices of the packages that go into it.

import { build } from 'esbuild';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ['src/extension.ts'],
  outfile: 'dist/extension.js',
  bundle: true,
  minify: true,
  metafile: true,
  platform: 'node',
  // Of the oldest VS Code in `engines`.
  target: 'node20',
  format: 'cjs',
  external: ['vscode'],
  logLevel: 'warning',
});

const folders = new Set(
  Object.keys(metafile.inputs).flatMap((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? []),
);
const notices = [...folders].sort().map((folder) => {
  const { name, version, license } = JSON.parse(fs.readFileSync(path.join(here, folder, 'package.json'), 'utf8'));
  const file = fs.readdirSync(path.join(here, folder)).find((entry) => /^licen[cs]e/i.test(entry));
  if (file === undefined) throw new Error(`${name} has no licence file: it must not go into the package`);
  return `${name} ${version} (${license})\n\n${fs.readFileSync(path.join(here, folder, file), 'utf8').trim()}\n`;
});
fs.writeFileSync(path.join(here, 'dist', 'THIRD_PARTY_NOTICES.txt'), notices.join(`\n${'-'.repeat(80)}\n\n`));
