// A proposed infill in the text: what came in is marked, what went out is shown before it.

import * as vscode from 'vscode';

import { columns, oneLine } from './canvas.ts';

const MAX_REMOVED_COLUMNS = 80;

export interface Change {
  /** The new text. */
  range: vscode.Range;
  removed: string;
}

export class DiffView implements vscode.Disposable {
  private readonly inserted = vscode.window.createTextEditorDecorationType({
    backgroundColor: new vscode.ThemeColor('diffEditor.insertedTextBackground'),
    // The border is what a high-contrast theme has instead of a background.
    border: '1px solid',
    borderColor: new vscode.ThemeColor('diffEditor.insertedTextBorder'),
    overviewRulerColor: new vscode.ThemeColor('editorOverviewRuler.addedForeground'),
    overviewRulerLane: vscode.OverviewRulerLane.Left,
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private readonly removed = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });

  show(editor: vscode.TextEditor, changes: readonly Change[]): void {
    editor.setDecorations(this.inserted, changes.map((change) => change.range).filter((range) => !range.isEmpty));
    const removed = changes.filter((change) => change.removed !== '');
    editor.setDecorations(
      this.removed,
      removed.map(({ range, removed }) => ({
        range: new vscode.Range(range.start, range.start),
        renderOptions: {
          before: {
            contentText: shortened(oneLine(removed)),
            color: new vscode.ThemeColor('diffcoder.removedForeground'),
            backgroundColor: new vscode.ThemeColor('diffEditor.removedTextBackground'),
            textDecoration: 'line-through',
          },
        },
      })),
    );
  }

  dispose(): void {
    this.inserted.dispose();
    this.removed.dispose();
  }
}

function shortened(text: string): string {
  let kept = '';
  for (const character of text) {
    if (columns(kept) >= MAX_REMOVED_COLUMNS) return `${kept}\u2026`;
    kept += character;
  }
  return kept;
}
