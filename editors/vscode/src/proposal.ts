// A finished infill in the document, until the user decides: the fills are real text, one undo step.

import * as vscode from 'vscode';

import { DiffView } from './diff_view.ts';
import { spansAfter, type Span } from './places.ts';
import type { FilledHole } from './protocol.ts';
import { rangeOf } from './ranges.ts';

export class Proposal implements vscode.Disposable {
  /** Index of the result that stands in the document. */
  shown = 0;
  private readonly view = new DiffView();
  /** What stood in the holes. */
  private readonly before: string[];
  /** The document's, after our last edit. */
  version: number;
  /** Where the fills of the shown result stand. */
  private spans: Span[] = [];
  private isWriting = false;

  constructor(
    private readonly editor: vscode.TextEditor,
    /** In the order of the document. */
    readonly holes: readonly Span[],
    /** Each has a fill for each hole. */
    readonly results: readonly FilledHole[][],
    /** How often it was tried before. */
    readonly tries: number,
  ) {
    this.before = holes.map((hole) => editor.document.getText(rangeOf(hole)));
    this.version = editor.document.version;
  }

  get document(): vscode.TextDocument {
    return this.editor.document;
  }

  /** Where the CodeLens goes, while a result stands in the document. */
  get firstLine(): number | undefined {
    return this.spans[0]?.start.line;
  }

  /** Puts a result into the document in place of the one that is there; `false` if the editor refuses. */
  async show(index: number): Promise<boolean> {
    return this.writing(async () => {
      if (this.spans.length > 0 && !(await this.takeBack())) return false;
      const fills = (this.results[index] ?? []).map((fill) => ({ range: fill.range, newText: fill.newText }));
      const done = await this.editor.edit((edit) => {
        for (const { range, newText } of fills) edit.replace(rangeOf(range), newText);
      });
      if (!done) return false;
      this.shown = index;
      this.spans = spansAfter(fills);
      this.editor.selections = this.spans.map(({ end }) => {
        const place = new vscode.Position(end.line, end.character);
        return new vscode.Selection(place, place);
      });
      this.decorate();
      return true;
    });
  }

  /** Puts back what stood in the holes. */
  async reject(): Promise<boolean> {
    return this.writing(() => this.takeBack());
  }

  /** Draws the decorations again, for instance in an editor that was hidden. */
  decorate(): void {
    this.view.show(
      this.editor,
      this.spans.map((span, index) => ({ range: rangeOf(span), removed: this.before[index] ?? '' })),
    );
  }

  /** What a change of the document means: ours, an undo of the infill, or an edit on top of it. */
  meaningOf(event: vscode.TextDocumentChangeEvent): 'ours' | 'undone' | 'edited' {
    if (this.isWriting || event.contentChanges.length === 0) return 'ours';
    return event.reason === vscode.TextDocumentChangeReason.Undo ? 'undone' : 'edited';
  }

  dispose(): void {
    this.view.dispose();
  }

  /** By undo, so that neither an undo step nor an unsaved mark stays; where undo does not do it, by an edit. */
  private async takeBack(): Promise<boolean> {
    if (vscode.window.activeTextEditor === this.editor && this.document.version === this.version) {
      await vscode.commands.executeCommand('undo');
      if (this.isAsBefore()) {
        this.spans = [];
        return true;
      }
    }
    const done = await this.editor.edit((edit) => {
      this.spans.forEach((span, index) => edit.replace(rangeOf(span), this.before[index] ?? ''));
    });
    if (done) this.spans = [];
    return done;
  }

  private isAsBefore(): boolean {
    return this.holes.every((hole, index) => this.document.getText(rangeOf(hole)) === this.before[index]);
  }

  private async writing(work: () => Promise<boolean>): Promise<boolean> {
    this.isWriting = true;
    try {
      return await work();
    } finally {
      this.isWriting = false;
      this.version = this.document.version;
    }
  }
}
