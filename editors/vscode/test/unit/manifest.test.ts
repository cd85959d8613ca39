// The manifest, the code and the texts agree.

import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';

/** Defined by run.mjs. */
declare const EXTENSION_FOLDER: string;

const read = (name: string): string => fs.readFileSync(path.join(EXTENSION_FOLDER, name), 'utf8');
const manifest = JSON.parse(read('package.json'));
const sources = fs.readdirSync(path.join(EXTENSION_FOLDER, 'src')).map((name) => read(path.join('src', name))).join('\n');

test('every command that is announced is registered, and the other way round', () => {
  const announced = manifest.contributes.commands.map(({ command }: { command: string }) => command);
  const registered = [...sources.matchAll(/^ {4}'(diffcoder\.[\w.]+)': \(/gm)].map(([, name]) => name);
  assert.deepEqual(registered.sort(), announced.sort());
});

test('the oldest VS Code that is allowed is the oldest one that is tested', () => {
  const [, oldest] = /oldest: \{\s+vscode: '([\d.]+)\.\d+'/.exec(read('test/e2e/setup.mjs')) ?? [];
  assert.equal(manifest.engines.vscode, `^${oldest}.0`);
});

test('activation does not load the language client', () => {
  for (const name of fs.readdirSync(path.join(EXTENSION_FOLDER, 'src'))) {
    const loads = /^(?:import|export) (?!type )[^;]*'vscode-languageclient/m.test(read(path.join('src', name)));
    assert.equal(loads, name === 'language_client.ts', name);
    const isStatic = /^import (?!type )[^;]*'\.\/language_client/m.test(read(path.join('src', name)));
    assert.ok(!isStatic, name);
  }
});

test('every setting that is read is announced', () => {
  const announced = Object.keys(manifest.contributes.configuration.properties);
  const reads = [...read('src/config.ts').matchAll(/(?:settings|section\([^)]*\))\.get\('([\w.]+)'/g)].map(([, name]) => `diffcoder.${name}`);
  assert.ok(reads.length >= 9);
  for (const name of reads) assert.ok(announced.includes(name), name);
  // The language client reads this one, and the server asks for its own.
  const rest = announced.filter((each) => each !== 'diffcoder.trace.server' && !isServers(each));
  for (const name of rest) assert.ok(reads.includes(name), name);
});

/** Whether the server has a setting of that name. */
function isServers(name: string): boolean {
  const schema = JSON.parse(read('../../docs/config.schema.json'));
  const path = name.split('.').slice(1);
  return path.reduce((node, part) => node?.properties?.[part], schema) !== undefined;
}

test('what a workspace cannot set is handed to the server by the extension', () => {
  for (const [name, property] of Object.entries<{ scope: string }>(manifest.contributes.configuration.properties)) {
    const handed = read('src/config.ts').includes(`'${name.slice('diffcoder.'.length)}'`);
    if (property.scope === 'machine') assert.ok(handed, name);
  }
});

test('defaults in the code are those of the manifest', () => {
  for (const [, name, value] of read('src/config.ts').matchAll(/\.get\('((?:infill|server)?\.?\w+)', ([^)]+)\)/g)) {
    const property = manifest.contributes.configuration.properties[`diffcoder.${name}`];
    assert.deepEqual(JSON.parse((value ?? '').replaceAll("'", '"')), property.default, name);
  }
});

test('a workspace cannot choose what is run', () => {
  for (const [name, property] of Object.entries<{ scope: string }>(manifest.contributes.configuration.properties)) {
    if (!name.startsWith('diffcoder.server.')) continue;
    assert.equal(property.scope, 'machine', name);
    assert.ok(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations.includes(name), name);
  }
});

test('every text of the manifest is there, in every language, and none is left over', () => {
  const used = new Set([...read('package.json').matchAll(/"%([\w.]+)%"/g)].map(([, key]) => key));
  for (const name of fs.readdirSync(EXTENSION_FOLDER).filter((each) => each.startsWith('package.nls'))) {
    assert.deepEqual(Object.keys(JSON.parse(read(name))).sort(), [...used].sort(), name);
  }
});

test('every step of the walkthrough has its picture or text, in every language, and an end that can come', () => {
  const commands = manifest.contributes.commands.map(({ command }: { command: string }) => command);
  const [{ steps }] = manifest.contributes.walkthroughs;
  assert.ok(steps.length >= 8);
  for (const { id, media, completionEvents } of steps) {
    const files = media.image ? [media.image] : [media.markdown, media.markdown.replace(/md$/, 'nls.de.md')];
    for (const file of files) assert.ok(fs.existsSync(path.join(EXTENSION_FOLDER, file)), `${id}: ${file}`);
    assert.ok(completionEvents.length > 0, id);
    for (const event of completionEvents) {
      const [kind, name] = event.split(':');
      if (kind === 'onCommand' && name.startsWith('diffcoder.')) assert.ok(commands.includes(name), event);
      if (kind === 'onSettingChanged') assert.ok(name in manifest.contributes.configuration.properties, event);
    }
  }
  const texts = fs.readdirSync(EXTENSION_FOLDER).filter((each) => each.startsWith('package.nls')).map(read).join('\n');
  for (const [, command] of texts.matchAll(/\(command:(diffcoder\.[\w.]+)/g)) assert.ok(commands.includes(command), command);
});

test('every text of the code is in every bundle, with the same placeholders, and none is left over', () => {
  const texts = [...sources.matchAll(/\bt\(\s*(?:'((?:[^'\\]|\\.)*)')/g)].map(([, text]) => (text ?? '').replaceAll("\\'", "'"));
  assert.ok(texts.length > 30);
  for (const name of fs.readdirSync(path.join(EXTENSION_FOLDER, 'l10n'))) {
    const bundle: Record<string, string> = JSON.parse(read(path.join('l10n', name)));
    assert.deepEqual(Object.keys(bundle).sort(), [...new Set(texts)].sort(), name);
    for (const [text, translation] of Object.entries(bundle)) {
      assert.deepEqual(placeholders(translation), placeholders(text), `${name}: ${text}`);
    }
  }

  function placeholders(text: string): string[] {
    return (text.match(/\{\d\}/g) ?? []).sort();
  }
});
