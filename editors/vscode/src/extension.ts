// Entry of the extension: makes the parts and connects them.

import * as vscode from 'vscode';

import { Actions } from './actions.ts';
import { Server } from './client.ts';
import { isEnabled, toggleLanguage } from './config.ts';
import { HeatMap } from './heat_map.ts';
import { Infill } from './infill.ts';
import { registerLenses } from './lenses.ts';
import { chooseModel, DoctorReport, showMenu } from './menu.ts';
import type { RewriteOrder } from './protocol.ts';
import { Status } from './status.ts';
import { suggestionMiddleware } from './suggestions.ts';
import { inEditor, openExample, openWalkthrough } from './welcome.ts';

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('diffcoder', { log: true });
  const report = new DoctorReport();
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
      trusted: vscode.workspace.isTrusted,
      paused,
      languageOff: document && !isEnabled(document) ? document.languageId : undefined,
      filling: infill.running?.holes.length ?? 0,
      proposal: proposal && { shown: proposal.shown + 1, of: proposal.results.length },
      model: running.model,
      heat: heatMap.state,
    };
  });
  const infill: Infill = new Infill(running, status);
  const actions = new Actions(running, infill, context.globalState);
  const heatMap: HeatMap = new HeatMap(running, (message) => infill.refuse(message, { kind: 'error', message }));

  const commands: Record<string, (argument: never) => unknown> = {
    'diffcoder.infill': () => inEditor(() => actions.run('infill')),
    'diffcoder.rewrite': () => inEditor(() => actions.run('rewrite')),
    'diffcoder.askRewrite': (order: RewriteOrder) => actions.askRewrite(order),
    'diffcoder.repair': () => inEditor(() => actions.run('repair')),
    'diffcoder.fillAll': () => inEditor(() => actions.run('fillAll')),
    'diffcoder.docComment': () => inEditor(() => actions.run('docComment')),
    'diffcoder.alternatives': () => inEditor(() => actions.run('alternatives')),
    'diffcoder.heatMap': () => inEditor(() => heatMap.toggle()),
    'diffcoder.heatMap.next': () => heatMap.go(1),
    'diffcoder.heatMap.previous': () => heatMap.go(-1),
    'diffcoder.heatMap.alternatives': () => heatMap.choose(),
    'diffcoder.heatMap.replace': (replacement: Parameters<HeatMap['replace']>[0]) => heatMap.replace(replacement),
    'diffcoder.infill.cancel': () => infill.cancel(),
    'diffcoder.infill.accept': () => infill.accept(),
    'diffcoder.infill.reject': () => infill.reject(),
    'diffcoder.infill.retry': () => inEditor(() => infill.retry()),
    'diffcoder.infill.nextAlternative': () => infill.turn(1),
    'diffcoder.infill.previousAlternative': () => infill.turn(-1),
    'diffcoder.menu': () => showMenu(status.lines(), paused, running),
    'diffcoder.togglePause': () => {
      paused = !paused;
      if (paused) void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
      status.forgetReason();
    },
    'diffcoder.toggleLanguage': () => {
      const document = vscode.window.activeTextEditor?.document;
      return document && toggleLanguage(document);
    },
    'diffcoder.chooseModel': () => chooseModel(),
    'diffcoder.unload': () => running.setLoaded(false),
    'diffcoder.reload': () => running.setLoaded(true),
    'diffcoder.restart': () => running.restart(),
    'diffcoder.welcome': () => openWalkthrough(context.extension.id),
    'diffcoder.example': () => openExample(context.extensionUri),
    'diffcoder.doctor': () => report.show(running),
    'diffcoder.showLog': () => log.show(),
  };

  context.subscriptions.push(
    log,
    report,
    running,
    status,
    infill,
    heatMap,
    registerLenses(infill),
    ...Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(name, run)),
    running.onDidChangeState((state) => {
      if (state.kind !== 'ready') {
        infill.cancel();
        heatMap.clear();
      }
      status.update();
    }),
    infill.onDidChange(() => status.update()),
    heatMap.onDidChange(() => status.update()),
    vscode.window.onDidChangeActiveTextEditor(() => status.update()),
    // The server has no way back from restricted mode.
    vscode.workspace.onDidGrantWorkspaceTrust(() => running.restart()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('diffcoder.server')) void running.restart();
      if (event.affectsConfiguration('diffcoder')) status.forgetReason();
    }),
  );
  status.update();
  // Afterwards: whoever waits for this activation need not wait for the language client, too.
  const start = setImmediate(() => void running.start());
  context.subscriptions.push({ dispose: () => clearImmediate(start) });
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
