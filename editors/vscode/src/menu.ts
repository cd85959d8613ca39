// The menu of the status bar item.

import * as vscode from 'vscode';

import { isEnabled } from './config.ts';

const t = vscode.l10n.t;

interface Choice extends vscode.QuickPickItem {
  command?: string;
}

/** Shows the state and what can be done about it; `lines` are the status item's. */
export async function showMenu(lines: readonly string[], paused: boolean): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  const choices: Choice[] = [
    paused
      ? { label: `$(debug-start) ${t('Resume suggestions')}`, command: 'diffcoder.togglePause' }
      : { label: `$(debug-pause) ${t('Pause suggestions in this window')}`, command: 'diffcoder.togglePause' },
  ];
  if (document) {
    const label = isEnabled(document)
      ? `$(circle-slash) ${t('Switch suggestions off for {0}', document.languageId)}`
      : `$(check) ${t('Switch suggestions on for {0}', document.languageId)}`;
    choices.push({ label, command: 'diffcoder.toggleLanguage' });
    choices.push({ label: `$(sparkle) ${t('Infill Selection(s)')}`, command: 'diffcoder.infill' });
  }
  choices.push(
    { label: `$(debug-restart) ${t('Restart the server')}`, command: 'diffcoder.restart' },
    { label: `$(output) ${t('Show the log')}`, command: 'diffcoder.showLog' },
  );
  const choice = await vscode.window.showQuickPick(choices, { title: 'diffcoder', placeHolder: lines.join(' \u2014 ') });
  if (choice?.command) await vscode.commands.executeCommand(choice.command);
}
