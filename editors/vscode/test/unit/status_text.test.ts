import assert from 'node:assert/strict';
import { test } from 'node:test';

import { statusText, type Situation, type Translate } from '../../src/status_text.ts';

const t: Translate = (message, ...values) => message.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)]));

function say(changes: Partial<Situation>): ReturnType<typeof statusText> {
  const calm: Situation = {
    server: { kind: 'ready', version: '1.2' },
    paused: false,
    languageOff: undefined,
    filling: 0,
    proposal: undefined,
    lastLatencyMs: undefined,
    nothing: undefined,
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
