import assert from 'node:assert/strict';
import { test } from 'node:test';

import { statusText, type Situation, type Translate } from '../../src/status_text.ts';

const t: Translate = (message, ...values) => message.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)]));

function say(changes: Partial<Situation>): ReturnType<typeof statusText> {
  const calm: Situation = {
    server: { kind: 'ready', version: '1.2' },
    trusted: true,
    paused: false,
    languageOff: undefined,
    filling: 0,
    proposal: undefined,
    lastLatencyMs: undefined,
    nothing: undefined,
    model: undefined,
    heat: undefined,
  };
  return statusText({ ...calm, ...changes }, t);
}

test('ready, with the last latency', () => {
  assert.deepEqual(say({}), { text: '$(sparkle) diffcoder', lines: ['Ready (server 1.2)'], severity: 'normal' });
  assert.equal(say({ lastLatencyMs: 41.7 }).text, '$(sparkle) diffcoder 42 ms');
  assert.deepEqual(say({ lastLatencyMs: 2345 }).lines, ['Ready (server 1.2)', 'Last result: 2.3 s']);
});

test('why nothing was shown', () => {
  assert.deepEqual(say({ nothing: { kind: 'noSuggestion' } }).lines.at(-1), 'Nothing was shown: the model had nothing to add here');
  assert.match(say({ nothing: { kind: 'error', message: 'too long' } }).lines.at(-1) ?? '', /too long$/);
});

test('a server that does not run comes before everything else', () => {
  const missing = say({ server: { kind: 'missing', setting: '' }, paused: true, lastLatencyMs: 5 });
  assert.equal(missing.severity, 'error');
  assert.match(missing.lines[0] ?? '', /cargo install --path lsp/);
  assert.equal(missing.text, '$(error) diffcoder');
  assert.match(say({ server: { kind: 'missing', setting: '/x' } }).lines[0] ?? '', /names \/x, which is not a program/);
  assert.equal(say({ server: { kind: 'restarting', delayMs: 500, attempt: 1 } }).severity, 'warning');
});

test('what the user waits for comes before what is switched off', () => {
  assert.match(say({ filling: 3, paused: true }).lines[0] ?? '', /Filling 3 hole/);
  assert.match(say({ proposal: { shown: 1, of: 2 }, paused: true }).lines[0] ?? '', /Infill 1 of 2/);
  assert.match(say({ paused: true, languageOff: 'rust' }).lines[0] ?? '', /Paused/);
  assert.match(say({ languageOff: 'rust' }).lines[0] ?? '', /off for rust/);
});

test('what the server says of its model', () => {
  const model = { state: 'idle', model: 'nano', device: 'cpu', memoryBytes: 30 * 2 ** 20 } as const;
  assert.deepEqual(say({ model }).lines, ['Ready (server 1.2)', 'Model nano on cpu, 30 MB']);
  assert.match(say({ model: { ...model, state: 'unloaded' } }).lines[0] ?? '', /unloaded/);
  const failed = say({ model: { ...model, state: 'failed', message: 'no memory' } });
  assert.deepEqual([failed.lines[0], failed.severity], ['The model failed: no memory', 'error']);
  const silent = say({ nothing: { kind: 'noSuggestion' }, model: { ...model, lastReason: 'the fill was unsure' } });
  assert.ok(silent.lines.includes('Nothing was shown: the fill was unsure'));
});

test('the heat map says how much it found', () => {
  assert.ok(say({ heat: 'scoring' }).lines.includes('The heat map is on its way'));
  assert.ok(say({ heat: 0 }).lines.includes('Heat map: 0 surprising token(s)'));
});

test('restricted mode comes before what the model does, not before a server that is missing', () => {
  const said = say({ trusted: false, paused: true });
  assert.equal(said.text, '$(shield) diffcoder');
  assert.match(said.lines[0] ?? '', /^Restricted Mode/);
  assert.match(say({ trusted: false, server: { kind: 'missing', setting: '' } }).lines[0] ?? '', /was not found/);
});
