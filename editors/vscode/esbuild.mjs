// Bundles the extension into dist/extension.js, and the language client, which is loaded later, into dist/language_client.js, with the notices of the packages that go into it.

import { build } from 'esbuild';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ['src/extension.ts', 'src/language_client.ts'],
  outdir: 'dist',
  bundle: true,
  minify: true,
  metafile: true,
  platform: 'node',
  // Of the oldest VS Code in `engines`.
  target: 'node20',
  format: 'cjs',
  external: ['vscode'],
  plugins: [{ name: 'later', setup: (build) => build.onResolve({ filter: /^\.\/language_client\.ts$/ }, later) }],
  // `require` in place of `import()`, which an extension host may not let in between.
  supported: { 'dynamic-import': false },
  logLevel: 'warning',
});

/** What is imported when it is needed stays a file of its own. */
function later({ kind }) {
  return kind === 'dynamic-import' ? { path: './language_client.js', external: true } : undefined;
}

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
