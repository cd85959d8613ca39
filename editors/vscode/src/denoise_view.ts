// The live preview: what stands in the holes while they are computed, as decorations.

import * as vscode from 'vscode';

import { gradient, runsOf } from './canvas.ts';
import { reducesMotion } from './config.ts';
import type { Cell, Span } from './protocol.ts';
import { rangeOf } from './ranges.ts';

const REDRAW_MS = 100;
const TURN_MS = 1_200;

export class DenoiseView implements vscode.Disposable {
  private readonly text = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private readonly replaced = vscode.window.createTextEditorDecorationType({
    opacity: '0.4',
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private readonly cells: (Cell[] | undefined)[];
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly start = Date.now();

  constructor(
    private readonly editor: vscode.TextEditor,
    private readonly holes: readonly Span[],
  ) {
    this.cells = holes.map(() => undefined);
    editor.setDecorations(this.replaced, holes.map(rangeOf).filter((range) => !range.isEmpty));
    if (!reducesMotion()) this.timer = setInterval(() => this.draw(), REDRAW_MS);
    this.draw();
  }

  /** Takes over a frame. */
  show(hole: number, cells: Cell[]): void {
    if (hole < 0 || hole >= this.holes.length) return;
    this.cells[hole] = cells;
    this.draw();
  }

  dispose(): void {
    clearInterval(this.timer);
    this.text.dispose();
    this.replaced.dispose();
  }

  private draw(): void {
    const phase = this.timer ? (Date.now() - this.start) / TURN_MS : 0;
    const options = this.holes.map((hole, index): vscode.DecorationOptions => {
      const runs = runsOf(this.cells[index], phase);
      const start = rangeOf(hole).start;
      return {
        range: new vscode.Range(start, start),
        renderOptions: {
          before: {
            contentText: runs.map((run) => run.text).join(''),
            color: new vscode.ThemeColor('diffcoder.denoiseForeground'),
            // In a high-contrast theme all text keeps its full contrast.
            ...(isHighContrast() ? {} : { textDecoration: gradient(runs) }),
          },
        },
      };
    });
    this.editor.setDecorations(this.text, options);
  }
}

function isHighContrast(): boolean {
  const { kind } = vscode.window.activeColorTheme;
  return kind === vscode.ColorThemeKind.HighContrast || kind === vscode.ColorThemeKind.HighContrastLight;
}
