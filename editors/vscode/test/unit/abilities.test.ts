import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ACTIONS, abilitiesOf, obstacle } from '../../src/abilities.ts';
import type { Translate } from '../../src/status_text.ts';

const t: Translate = (message, ...values) => message.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)]));
const server = (diffcoder: unknown): ReturnType<typeof abilitiesOf> => abilitiesOf({ experimental: { diffcoder } });

test('an older server or another one can less', () => {
  const none = { infill: false, score: false, holes: false, status: false, seen: false, rewrite: undefined };
  assert.deepEqual(abilitiesOf(undefined), none);
  assert.deepEqual(abilitiesOf({ experimental: null }), none);
  assert.deepEqual(server({}), none);
  assert.deepEqual(server({ infill: true, score: true, seen: true }), { ...none, infill: true, score: true, seen: true });
  assert.deepEqual(server({ infill: 'yes', rewrite: { disabled: 3 } }), none);
});

test('with all that a server can have, nothing stands in the way', () => {
  const can = server({ infill: true, score: true, holes: true, status: true, rewrite: true });
  for (const action of ACTIONS) assert.equal(obstacle(action, can, t), undefined, action);
});

test('what cannot be done says why', () => {
  const reason = 'the model nano was not trained on instructions';
  assert.equal(obstacle('rewrite', server({ infill: true, rewrite: { disabled: reason } }), t), reason);
  assert.match(obstacle('rewrite', server({ infill: true }), t) ?? '', /too old/);
  for (const action of ['repair', 'fillAll', 'docComment'] as const) {
    assert.match(obstacle(action, server({ infill: true }), t) ?? '', /does not know diffcoder\/holes/);
  }
  assert.equal(obstacle('alternatives', server({ infill: true }), t), undefined);
  assert.match(obstacle('alternatives', server({}), t) ?? '', /does not know diffcoder\/infill/);
});
