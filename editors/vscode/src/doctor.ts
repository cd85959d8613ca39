// How the server's program is called, and `diffcoder-lsp doctor`. No editor in here; `t` translates.

import { execFile } from 'node:child_process';

import type { ServerSettings } from './config.ts';
import type { Translate } from './status_text.ts';

/** A timed infill is part of it, and the machine may be busy. */
const PATIENCE_MS = 120_000;

export interface Launch {
  args: string[];
  environment: Record<string, string>;
}

export function launchOf({ model, logLevel, environment }: ServerSettings): Launch {
  return { args: model === '' ? [] : ['--model', model], environment: { ...environment, DIFFCODER_LOG: logLevel } };
}

/** The report, or a sentence that says why there is none. A report of something that is wrong ends with status 1 and is a report too. */
export function examine(program: string, { args, environment }: Launch, t: Translate, patienceMs = PATIENCE_MS): Promise<string> {
  const options = { env: { ...process.env, ...environment }, timeout: patienceMs, encoding: 'utf8' as const };
  return new Promise((resolve) => {
    execFile(program, ['doctor', ...args], options, (error, stdout, stderr) => {
      if (stdout.trim() !== '' && !error?.killed) return resolve(stdout);
      if (error?.killed) return resolve(t('The check did not end within {0} s.', patienceMs / 1000));
      const why = stderr.trim() || (error?.message ?? '');
      resolve(t('{0} could not check itself: {1}', program, why));
    });
  });
}
