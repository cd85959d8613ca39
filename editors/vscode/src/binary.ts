// Where the server's program is: the setting, then the one inside the extension, then PATH. No editor in here.

import * as path from 'node:path';

export interface Surroundings {
  /** The setting `diffcoder.server.path`. */
  setting: string;
  extensionFolder: string;
  platform: NodeJS.Platform;
  /** `PATH` of the environment. */
  searchPath: string;
  homeFolder: string;
  isProgram(file: string): boolean;
}

export type Found = { file: string; source: 'setting' | 'extension' | 'path' };
export type Missing = { file: undefined; setting: string };

export function programName(platform: NodeJS.Platform): string {
  return platform === 'win32' ? 'diffcoder-lsp.exe' : 'diffcoder-lsp';
}

/** A setting that leads nowhere is an error: another program in its place would be a surprise. */
export function findServer(around: Surroundings): Found | Missing {
  const paths = around.platform === 'win32' ? path.win32 : path.posix;
  const setting = around.setting.trim();
  if (setting !== '') {
    const file = /^~(?=$|[\\/])/.test(setting) ? paths.join(around.homeFolder, setting.slice(1)) : setting;
    return paths.isAbsolute(file) && around.isProgram(file) ? { file, source: 'setting' } : { file: undefined, setting };
  }
  const name = programName(around.platform);
  const bundled = paths.join(around.extensionFolder, 'server', name);
  if (around.isProgram(bundled)) return { file: bundled, source: 'extension' };
  // An empty or relative entry of PATH would mean the workspace's folder.
  const folders = around.searchPath.split(paths.delimiter).filter((folder) => paths.isAbsolute(folder));
  const file = folders.map((folder) => paths.join(folder, name)).find(around.isProgram);
  return file === undefined ? { file: undefined, setting } : { file, source: 'path' };
}
