// The menu of the status bar item.

import * as vscode from 'vscode';

import { ACTIONS, obstacle, type Action } from './abilities.ts';
import type { Server } from './client.ts';
import { isEnabled, setModel } from './config.ts';

const t = vscode.l10n.t;

interface Choice extends vscode.QuickPickItem {
  command?: string;
}

/** Shows the state and what can be done; `lines` are the status item's. */
export async function showMenu(lines: readonly string[], paused: boolean, server: Server): Promise<void> {
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
  }
  if (document && server.ready) choices.push({ label: t('In this file'), kind: vscode.QuickPickItemKind.Separator }, ...actionsOf(server));
  choices.push({ label: t('Server'), kind: vscode.QuickPickItemKind.Separator });
  if (server.abilities.status) {
    choices.push(
      server.model?.state === 'unloaded'
        ? { label: `$(arrow-up) ${t('Load the model')}`, command: 'diffcoder.reload' }
        : { label: `$(arrow-down) ${t('Unload the model')}`, command: 'diffcoder.unload' },
    );
  }
  choices.push(
    { label: `$(archive) ${t('Switch the model')}`, command: 'diffcoder.chooseModel' },
    { label: `$(debug-restart) ${t('Restart the server')}`, command: 'diffcoder.restart' },
    { label: `$(pulse) ${t('Check the installation')}`, command: 'diffcoder.doctor' },
    { label: `$(book) ${t('Welcome')}`, command: 'diffcoder.welcome' },
    { label: `$(output) ${t('Show the log')}`, command: 'diffcoder.showLog' },
  );
  const choice = await vscode.window.showQuickPick(choices, { title: 'diffcoder', placeHolder: lines.join(' \u2014 ') });
  if (choice?.command) await vscode.commands.executeCommand(choice.command);
}

/** What can be done in a file; what cannot says why instead of doing anything. */
function actionsOf(server: Server): Choice[] {
  const titles: Record<Action, string> = {
    infill: `$(sparkle) ${t('Infill Selection(s)')}`,
    rewrite: `$(edit) ${t('Rewrite with Instruction')}`,
    repair: `$(wrench) ${t('Repair')}`,
    fillAll: `$(list-unordered) ${t('Fill All Holes')}`,
    docComment: `$(comment) ${t('Write Doc Comment')}`,
    alternatives: `$(list-selection) ${t('Alternatives')}`,
  };
  const choices = ACTIONS.map((action): Choice => {
    const why = obstacle(action, server.abilities, t);
    return why === undefined
      ? { label: titles[action], command: `diffcoder.${action}` }
      : { label: titles[action].replace(/^\$\([\w-]+\)/, '$(circle-slash)'), description: t('not available: {0}', why) };
  });
  if (server.abilities.score) choices.push({ label: `$(flame) ${t('Heat Map')}`, command: 'diffcoder.heatMap' });
  return choices;
}

/** Asks for a model directory and puts it into the settings, which restarts the server. */
export async function chooseModel(): Promise<void> {
  const embedded = { label: t('The model inside the server') };
  const folder = { label: t('A model directory…') };
  const choice = await vscode.window.showQuickPick([embedded, folder], { title: t('Switch the model') });
  if (choice === embedded) await setModel('');
  if (choice !== folder) return;
  const [chosen] = (await vscode.window.showOpenDialog({ canSelectFiles: false, canSelectFolders: true, openLabel: t('Use this model') })) ?? [];
  if (chosen) await setModel(chosen.fsPath);
}

/** The report of the server's own check, as a document that cannot be edited. */
export class DoctorReport implements vscode.Disposable {
  private text = '';
  private readonly uri = vscode.Uri.from({ scheme: 'diffcoder-doctor', path: 'diffcoder doctor' });
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly provider = vscode.workspace.registerTextDocumentContentProvider(this.uri.scheme, {
    onDidChange: this.changed.event,
    provideTextDocumentContent: () => this.text,
  });

  /** Runs the check and shows what it says. */
  async show(server: Server): Promise<void> {
    const progress = { location: vscode.ProgressLocation.Window, title: t('diffcoder checks itself') };
    this.text = await vscode.window.withProgress(progress, () => server.doctor());
    this.changed.fire(this.uri);
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(this.uri), { preview: true });
  }

  dispose(): void {
    this.provider.dispose();
    this.changed.dispose();
  }
}
