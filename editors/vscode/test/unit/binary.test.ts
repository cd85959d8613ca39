import assert from 'node:assert/strict';
import { test } from 'node:test';

import { findServer, type Surroundings } from '../../src/binary.ts';

function around(programs: string[], changes: Partial<Surroundings> = {}): Surroundings {
  return {
    setting: '',
    extensionFolder: '/ext',
    platform: 'linux',
    searchPath: '/usr/bin:/opt/bin',
    homeFolder: '/home/you/',
    isProgram: (file) => programs.includes(file),
    ...changes,
  };
}

const EVERYWHERE = ['/mine/lsp', '/ext/server/diffcoder-lsp', '/usr/bin/diffcoder-lsp', '/opt/bin/diffcoder-lsp'];

test('setting, then extension, then PATH', () => {
  assert.deepEqual(findServer(around(EVERYWHERE, { setting: '/mine/lsp' })), { file: '/mine/lsp', source: 'setting' });
  assert.deepEqual(findServer(around(EVERYWHERE)), { file: '/ext/server/diffcoder-lsp', source: 'extension' });
  assert.deepEqual(findServer(around(EVERYWHERE.slice(2))), { file: '/usr/bin/diffcoder-lsp', source: 'path' });
  assert.deepEqual(findServer(around([])), { file: undefined, setting: '' });
});

test('a wrong setting is not replaced by another program', () => {
  assert.deepEqual(findServer(around(EVERYWHERE, { setting: '/gone' })), { file: undefined, setting: '/gone' });
  assert.deepEqual(findServer(around(['bin/lsp'], { setting: 'bin/lsp' })), { file: undefined, setting: 'bin/lsp' });
});

test('~ is the home folder', () => {
  const found = findServer(around(['/home/you/bin/lsp'], { setting: ' ~/bin/lsp ' }));
  assert.equal(found.file, '/home/you/bin/lsp');
});

test('PATH never means the current folder', () => {
  const found = findServer(around(['diffcoder-lsp', 'bin/diffcoder-lsp', './diffcoder-lsp'], { searchPath: ':.:bin' }));
  assert.equal(found.file, undefined);
});

test('Windows has another separator and ending', () => {
  const found = findServer(around(['D:\\b\\diffcoder-lsp.exe'], { platform: 'win32', searchPath: 'C:\\a;D:\\b', extensionFolder: 'C:\\ext' }));
  assert.deepEqual(found, { file: 'D:\\b\\diffcoder-lsp.exe', source: 'path' });
});
