// Entry of the extension: makes the parts and connects them.

import * as vscode from 'vscode';

import { Server } from './client.ts';
import { isEnabled, toggleLanguage } from './config.ts';
import { Infill } from './infill.ts';
import { registerLenses } from './lenses.ts';
import { showMenu } from './menu.ts';
import { Status } from './status.ts';
import { suggestionMiddleware } from './suggestions.ts';

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('diffcoder', { log: true });
  let paused = false;
  const middleware = suggestionMiddleware({
    paused: () => paused,
    infillIsOpen: (document) => infill.isOpenIn(document),
    shown: (latencyMs) => status.shown(latencyMs),
    notShown: (why, latencyMs) => status.notShown(why, latencyMs),
  });
  const running = new Server(context.extensionPath, middleware, log);
  server = running;
  const status: Status = new Status(() => {
    const document = vscode.window.activeTextEditor?.document;
    const proposal = infill.proposal?.document === document ? infill.proposal : undefined;
    return {
      server: running.state,
      paused,
      languageOff: document && !isEnabled(document) ? document.languageId : undefined,
      filling: infill.running?.holes.length ?? 0,
      proposal: proposal && { shown: proposal.shown + 1, of: proposal.results.length },
    };
  });
  const infill: Infill = new Infill(running, status);

  const commands: Record<string, () => unknown> = {
    'diffcoder.infill': () => infill.run(),
    'diffcoder.infill.cancel': () => infill.cancel(),
    'diffcoder.infill.accept': () => infill.accept(),
    'diffcoder.infill.reject': () => infill.reject(),
    'diffcoder.infill.retry': () => infill.retry(),
    'diffcoder.infill.nextAlternative': () => infill.turn(1),
    'diffcoder.infill.previousAlternative': () => infill.turn(-1),
    'diffcoder.menu': () => showMenu(status.lines(), paused),
    'diffcoder.togglePause': () => {
      paused = !paused;
      if (paused) void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
      status.forgetReason();
    },
    'diffcoder.toggleLanguage': () => {
      const document = vscode.window.activeTextEditor?.document;
      return document && toggleLanguage(document);
    },
    'diffcoder.restart': () => running.restart(),
    'diffcoder.showLog': () => log.show(),
  };

  context.subscriptions.push(
    log,
    running,
    status,
    infill,
    registerLenses(infill),
    ...Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(name, run)),
    running.onDidChangeState((state) => {
      if (state.kind !== 'ready') infill.cancel();
      status.update();
    }),
    infill.onDidChange(() => status.update()),
    vscode.window.onDidChangeActiveTextEditor(() => status.update()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('diffcoder.server')) void running.restart();
      if (event.affectsConfiguration('diffcoder')) status.forgetReason();
    }),
  );
  status.update();
  void running.start();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
