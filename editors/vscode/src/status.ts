// The status bar item.

import * as vscode from 'vscode';

import { statusText, type Nothing, type Situation } from './status_text.ts';

const BACKGROUNDS = {
  normal: undefined,
  warning: new vscode.ThemeColor('statusBarItem.warningBackground'),
  error: new vscode.ThemeColor('statusBarItem.errorBackground'),
};

export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('status', vscode.StatusBarAlignment.Right, 100);
  lastLatencyMs: number | undefined;
  nothing: Nothing | undefined;

  constructor(private readonly situation: () => Omit<Situation, 'lastLatencyMs' | 'nothing'>) {
    this.item.name = 'diffcoder';
    this.item.command = 'diffcoder.menu';
    this.item.show();
  }

  shown(latencyMs: number): void {
    this.lastLatencyMs = latencyMs;
    this.nothing = undefined;
    this.update();
  }

  notShown(why: Nothing, latencyMs?: number): void {
    if (latencyMs !== undefined) this.lastLatencyMs = latencyMs;
    this.nothing = why;
    this.update();
  }

  /** What was switched off or on makes the last reason old. */
  forgetReason(): void {
    this.nothing = undefined;
    this.update();
  }

  /** The lines that the tooltip, the menu and a screen reader have. */
  lines(): string[] {
    return this.current().lines;
  }

  update(): void {
    const { text, lines, severity } = this.current();
    this.item.text = text;
    this.item.tooltip = lines.join('\n');
    this.item.backgroundColor = BACKGROUNDS[severity];
    this.item.accessibilityInformation = { label: `diffcoder: ${lines.join('. ')}`, role: 'button' };
  }

  dispose(): void {
    this.item.dispose();
  }

  private current(): ReturnType<typeof statusText> {
    const situation = { ...this.situation(), lastLatencyMs: this.lastLatencyMs, nothing: this.nothing };
    return statusText(situation, vscode.l10n.t);
  }
}
