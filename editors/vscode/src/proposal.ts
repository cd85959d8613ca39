// A finished infill in the document, until the user decides: the fills are real text, one undo step.

import * as vscode from 'vscode';

import { DiffView } from './diff_view.ts';
import type { Wish } from './infill.ts';
import { spansAfter, type Replacement, type Span } from './places.ts';
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
    readonly document: vscode.TextDocument,
    /** In the order of the document. */
    readonly holes: readonly Span[],
    /** Each has a fill for each hole. */
    readonly results: readonly FilledHole[][],
    /** How often it was tried before. */
    readonly tries: number,
    /** What another try asks for again. */
    readonly wish: Wish,
  ) {
    this.before = holes.map((hole) => document.getText(rangeOf(hole)));
    this.version = document.version;
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
      if (!(await this.replace(fills))) return false;
      this.shown = index;
      this.spans = spansAfter(fills);
      const ends = this.spans.map(({ end }) => new vscode.Position(end.line, end.character));
      const [editor] = this.editors;
      if (editor) editor.selections = ends.map((end) => new vscode.Selection(end, end));
      this.decorate();
      return true;
    });
  }

  /** Puts back what stood in the holes. */
  async reject(): Promise<boolean> {
    return this.writing(() => this.takeBack());
  }

  /** Draws the decorations, again in an editor that was hidden. */
  decorate(): void {
    const changes = this.spans.map((span, index) => ({ range: rangeOf(span), removed: this.before[index] ?? '' }));
    for (const editor of this.editors) this.view.show(editor, changes);
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
    if (vscode.window.activeTextEditor?.document === this.document && this.document.version === this.version) {
      await vscode.commands.executeCommand('undo');
      if (this.isAsBefore()) {
        this.spans = [];
        return true;
      }
    }
    const done = await this.replace(this.spans.map((range, index) => ({ range, newText: this.before[index] ?? '' })));
    if (done) this.spans = [];
    return done;
  }

  /** One undo step; also while another file is in front. */
  private async replace(replacements: readonly Replacement[]): Promise<boolean> {
    const edit = new vscode.WorkspaceEdit();
    for (const { range, newText } of replacements) edit.replace(this.document.uri, rangeOf(range), newText);
    return vscode.workspace.applyEdit(edit);
  }

  /** Where the document is to be seen, the active editor first; an editor is another one after its tab was hidden. */
  private get editors(): vscode.TextEditor[] {
    const editors = vscode.window.visibleTextEditors.filter((editor) => editor.document === this.document);
    const isActive = (editor: vscode.TextEditor): number => Number(editor === vscode.window.activeTextEditor);
    return editors.sort((a, b) => isActive(b) - isActive(a));
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
