// Rewrite, repair, fill all holes, doc comment, alternatives: with a server whose answers are fixed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { fillsAt, offsetsAfter } from './files.mjs';
import { until, Workbench } from './workbench.mjs';

const SCRIPT = fileURLToPath(new URL('scripted_server.mjs', import.meta.url));
/** What the server offers for a selection. */
const CODE_ACTIONS = ['Rewrite with instruction', 'Rewrite an older text', 'Rewrite what is elsewhere'];
const REASON = 'the model scripted was not trained on instructions';

export const HOLES = `fn first() -> u32 {
    todo!()
}

fn second() -> u32 {
    todo!()
}

fn third() -> u32 {
    1 + wrogn + wrogn
}
`;

export async function open({ tools, vsix, logs, settings }) {
  fs.mkdirSync(logs, { recursive: true });
  const log = path.join(logs, 'messages.jsonl');
  fs.rmSync(log, { force: true });
  const program = (name, ...args) => {
    const file = path.join(logs, name);
    const words = [tools.node, SCRIPT, log, ...args].map((word) => `'${word}'`);
    fs.writeFileSync(file, `#!/bin/sh\nexec ${words.join(' ')}\n`, { mode: 0o755 });
    return file;
  };
  const machine = { 'diffcoder.server.path': program('able') };
  const bench = await Workbench.open({ tools, vsix, logs, machine, files: { 'holes.rs': HOLES }, settings });
  bench.log = log;
  bench.unable = program('unable', REASON);
  await bench.openFile('holes.rs');
  return bench;
}

/** Parameters of the messages of a method so far. */
export function messages(bench, method) {
  const lines = fs.readFileSync(bench.log, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line)).filter((message) => message.method === method);
}

const lastInfill = (bench) => messages(bench, 'diffcoder/infill').at(-1).params;

/** From the one that is able to the other; once. */
export async function changeServer(bench) {
  bench.setMachine({ 'diffcoder.server.path': bench.unable });
  await until('the other server runs', () => messages(bench, 'initialize').length === 2);
  await bench.waitForStatus(/Ready/);
  await bench.focusEditor();
}

async function accept(bench) {
  await bench.press('Control+Enter');
  await bench.waitForStatus(/Ready/);
  return bench.text();
}

async function undone(bench) {
  await bench.press('Control+z');
  assert.equal(await bench.text(), HOLES, 'one undo takes it back');
}

/** Selects a word of line 10 and chooses among its code actions. By keys, since an older VS Code lets a click through only from a real mouse. */
async function chooseAction(bench, title) {
  const asked = () => messages(bench, 'textDocument/codeAction');
  const before = asked().length;
  await bench.goTo(10, 9);
  await bench.press('Shift+Control+ArrowRight');
  // VS Code asks by itself, for the light bulb: the answer to that closes the list.
  await until('the light bulb is lit', () => asked().slice(before).some(({ params }) => params.range.end.character === 13));
  const focused = (text, timeout) => bench.page.locator('.action-widget .monaco-list-row.focused', { hasText: text }).waitFor({ timeout });
  await until('the code actions are listed', async () => {
    await bench.press('Control+.');
    return focused(CODE_ACTIONS[0], 2_000).then(() => true, () => false);
  });
  for (const each of CODE_ACTIONS) {
    await focused(each);
    if (each === title) break;
    await bench.press('ArrowDown');
  }
  await bench.press('Enter');
}

/** With the server and the model of the package. */
export const testsWithModel = {
  async 'the model fills all stubs of a file in one go'(bench, { images }) {
    await bench.openFile('stubs.rs');
    const original = fs.readFileSync(bench.file, 'utf8');
    await bench.command('diffcoder: Fill All Holes');
    await bench.waitForStatus(/Infill 1 of 1: accept or reject/);
    await bench.page.locator('.codelens-decoration', { hasText: 'Accept' }).waitFor();
    if (images) await bench.screenshot(path.join(images, 'fill-all.png'));
    await bench.press('Control+Enter');
    await bench.waitForStatus(/Ready/);
    const text = await bench.text();
    const empty = original.replaceAll('todo!()', '');
    const fills = fillsAt(empty, text, offsetsAfter(empty, ') -> Self {\n        ').concat(offsetsAfter(empty, ') -> bool {\n        ')));
    assert.equal(fills.length, 2);
    assert.ok(!text.includes('todo!()'), text);
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'the model repairs what it doubts and leaves the rest'(bench) {
    const original = await bench.text();
    // A macro that nobody has heard of.
    await bench.goTo(29);
    await bench.command('diffcoder: Repair');
    await bench.waitForStatus(/Infill 1 of 1: accept or reject/);
    await bench.press('Control+Enter');
    await bench.waitForStatus(/Ready/);
    const text = await bench.text();
    assert.notEqual(text, original);
    const start = original.split('\n').slice(0, 28).join('\n');
    const end = original.split('\n').slice(29).join('\n');
    assert.ok(text.startsWith(`${start}\n`) && text.endsWith(`\n${end}`), text);
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'the model writes a doc comment'(bench) {
    const original = await bench.text();
    await bench.goTo(13, 14);
    await bench.command('diffcoder: Write Doc Comment');
    await bench.waitForStatus(/accept or reject/);
    await bench.press('Control+Enter');
    await bench.waitForStatus(/Ready/);
    const [fill] = fillsAt(original, await bench.text(), [original.indexOf('pub fn is_zero')]);
    assert.match(fill, /^\/\/\/.*\n {4}$/s);
    await bench.press('Control+z');
    assert.equal(await bench.text(), original);
  },

  async 'the model says that it takes no instructions'(bench, { images }) {
    await bench.statusItem.locator('a').click();
    await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: /Rewrite with Instruction.*not available: .*not trained to follow instructions/ }).waitFor();
    if (images) await bench.screenshot(path.join(images, 'status-menu.png'));
    await bench.press('Escape');
    await bench.page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
    await bench.focusEditor();
  },
};

/** Opens the box by its key and answers it. */
async function instruct(bench, text) {
  await bench.press('Control+k', 'Control+Alt+r');
  await answerBox(bench, text);
}

async function answerBox(bench, text) {
  const input = bench.quickInput;
  await input.waitFor();
  await bench.page.locator('.quick-input-widget', { hasText: 'Rewrite with Instruction' }).waitFor();
  await input.fill(text);
  await bench.page.locator('.quick-input-list .monaco-list-row.focused', { hasText: text }).waitFor();
}

export const tests = {
  async 'the status bar says what the server does'(bench) {
    await bench.waitForStatus(/Model scripted on paper, 3 MB/);
    await bench.statusItem.locator('a').click();
    await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Unload the model' }).click();
    await bench.waitForStatus(/The model is unloaded/);
    await bench.statusItem.locator('a').click();
    await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Load the model' }).click();
    await bench.waitForStatus(/Ready/);
    await bench.focusEditor();
  },

  async 'every cursor gets its own text, and one undo takes all back'(bench) {
    // At the ends of the three signatures.
    await bench.goTo(1, 1);
    await bench.press('Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Control+Shift+l', 'End', 'Control+k', 'Control+Enter');
    await bench.waitForStatus(/accept or reject/);
    const lines = HOLES.split('\n');
    for (const [index, line] of [0, 4, 8].entries()) lines[line] += `fill_${index}_0()`;
    assert.equal(await accept(bench), lines.join('\n'));
    await undone(bench);
    await bench.press('Escape');
  },

  async 'all holes are filled in one go'(bench) {
    await bench.command('diffcoder: Fill All Holes');
    await bench.waitForStatus(/Infill 1 of 1: accept or reject/);
    await bench.page.locator('.codelens-decoration', { hasText: 'Accept' }).waitFor();
    assert.equal(await accept(bench), HOLES.replace('todo!()', 'fill_0_0()').replace('todo!()', 'fill_1_0()'));
    await undone(bench);
    assert.equal(messages(bench, 'diffcoder/holes').at(-1).params.range, undefined);
  },

  async 'the holes of a selection are filled'(bench) {
    await bench.goTo(5);
    await bench.press('Shift+ArrowDown', 'Shift+ArrowDown', 'Shift+ArrowDown');
    await bench.command('diffcoder: Fill All Holes');
    await bench.waitForStatus(/accept or reject/);
    assert.deepEqual(lastInfill(bench).ranges.map(({ start }) => start.line), [5]);
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    assert.equal(await bench.text(), HOLES);
  },

  async 'repair replaces the parts that the server doubts, and retry stays a repair'(bench) {
    await bench.goTo(10);
    await bench.command('diffcoder: Repair');
    await bench.waitForStatus(/Infill 1 of 1/);
    assert.equal(lastInfill(bench).avoidDraft, true);
    await bench.press('Alt+Enter');
    await bench.waitForStatus(/found nothing new/);
    assert.equal(lastInfill(bench).avoidDraft, true);
    await bench.waitForStatus(/Infill 1 of 1/);
    assert.equal(await accept(bench), HOLES.replaceAll('wrogn', 'right'));
    await undone(bench);
  },

  async 'where there is nothing to repair, that is said'(bench) {
    await bench.goTo(1);
    await bench.command('diffcoder: Repair');
    await bench.waitForStatus(/nothing to repair here/);
    assert.equal(await bench.text(), HOLES);
  },

  async 'a rewrite previews, rejects and accepts'(bench) {
    await bench.goTo(10, 7);
    await instruct(bench, 'make it loud');
    await bench.press('Enter');
    await bench.waitForStatus(/accept or reject/);
    const { instruction, ranges } = lastInfill(bench);
    assert.equal(instruction, 'make it loud');
    // The line of the cursor without its indentation.
    assert.deepEqual(ranges, [{ start: { line: 9, character: 4 }, end: { line: 9, character: 21 } }]);
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    assert.equal(await bench.text(), HOLES);
    await bench.goTo(10, 7);
    await bench.press('Control+k', 'Control+Alt+r');
    // The earlier instruction is the first of the list.
    await bench.page.locator('.quick-input-list .monaco-list-row.focused', { hasText: 'make it loud' }).waitFor();
    await bench.press('Enter');
    await bench.waitForStatus(/accept or reject/);
    assert.equal(await accept(bench), HOLES.replace('1 + wrogn + wrogn', '1 + WROGN + WROGN'));
    await undone(bench);
  },

  async 'Escape cancels a rewrite'(bench) {
    await bench.goTo(10, 7);
    await instruct(bench, 'wait');
    await bench.press('Enter');
    await bench.waitForStatus(/Filling 1 hole/);
    const id = await until('the request is there', () => messages(bench, 'diffcoder/infill').at(-1)?.params.instruction === 'wait' && messages(bench, 'diffcoder/infill').at(-1).id);
    await bench.press('Escape');
    await bench.waitForStatus(/Ready.*cancelled/);
    assert.ok(messages(bench, '$/cancelRequest').some(({ params }) => params.id === id));
    assert.equal(await bench.text(), HOLES);
  },

  async 'leaving the box asks for nothing'(bench) {
    const before = messages(bench, 'diffcoder/infill').length;
    await instruct(bench, 'never');
    await bench.press('Escape');
    await bench.page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
    assert.equal(messages(bench, 'diffcoder/infill').length, before);
  },

  async 'the rewrite among the code actions asks for its instruction, which the server was told'(bench) {
    assert.deepEqual(messages(bench, 'initialize').at(-1).params.capabilities.experimental?.diffcoder, { asksInstruction: true });
    await chooseAction(bench, 'Rewrite with instruction');
    await answerBox(bench, 'make it loud');
    await bench.press('Enter');
    await bench.waitForStatus(/accept or reject/);
    const { instruction, ranges } = lastInfill(bench);
    assert.equal(instruction, 'make it loud');
    assert.deepEqual(ranges, [{ start: { line: 9, character: 8 }, end: { line: 9, character: 13 } }]);
    assert.equal(await accept(bench), HOLES.replace('1 + wrogn', '1 + WROGN'));
    await undone(bench);
  },

  async 'a code action for a text that is not there any more says so'(bench) {
    const before = messages(bench, 'diffcoder/infill').length;
    for (const [title, notice] of [['Rewrite an older text', /The text has changed/], ['Rewrite what is elsewhere', /not in sight/]]) {
      await chooseAction(bench, title);
      await bench.waitForStatus(notice);
      await bench.focusEditor();
    }
    await bench.command('Notifications: Clear All Notifications');
    assert.equal(messages(bench, 'diffcoder/infill').length, before);
  },

  async 'a doc comment goes above its item'(bench) {
    await bench.goTo(5, 4);
    await bench.command('diffcoder: Write Doc Comment');
    await bench.waitForStatus(/accept or reject/);
    assert.equal(lastInfill(bench).kind, 'docComment');
    assert.equal(await accept(bench), HOLES.replace('fn second', 'fill_0_0()fn second'));
    await undone(bench);
  },

  async 'alternatives come at once'(bench) {
    await bench.goTo(8);
    await bench.command('diffcoder: Alternatives for Selection(s)');
    await bench.waitForStatus(/Infill 1 of 4/);
    await bench.press('Alt+]');
    await bench.waitForStatus(/Infill 2 of 4/);
    await bench.press('Escape');
    await bench.waitForStatus(/Ready/);
    assert.equal(await bench.text(), HOLES);
  },

  async 'what the model cannot do says why'(bench) {
    await changeServer(bench);
    const before = messages(bench, 'diffcoder/infill').length;
    await bench.command('diffcoder: Rewrite with Instruction');
    await bench.waitForStatus(new RegExp(REASON));
    await bench.page.locator('.notification-toast', { hasText: REASON }).waitFor();
    assert.equal(messages(bench, 'diffcoder/infill').length, before);
    await bench.statusItem.locator('a').click();
    await bench.page.locator('.quick-input-list .monaco-list-row', { hasText: `not available: ${REASON}` }).waitFor();
    await bench.press('Escape');
  },
};
