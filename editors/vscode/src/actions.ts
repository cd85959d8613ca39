// What can be done besides filling the selections: repair, fill all holes, rewrite, doc comment, alternatives.

import * as vscode from 'vscode';

import { obstacle, type Action } from './abilities.ts';
import type { Server } from './client.ts';
import { infillSettings } from './config.ts';
import type { Infill, Wish } from './infill.ts';
import { askInstruction } from './instruction.ts';
import { holesOf, type Span } from './places.ts';
import { HOLES, REQUEST_CANCELLED, type HolesKind, type HolesParams, type HolesResult, type RewriteOrder } from './protocol.ts';

/** Results that Alternatives asks for, unless the setting asks for more. */
const ALTERNATIVES = 4;
const t = vscode.l10n.t;

export class Actions {
  constructor(
    private readonly server: Server,
    private readonly infill: Infill,
    private readonly memory: vscode.Memento,
  ) {}

  /** Does it in the active editor, or says why not. */
  async run(action: Action): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor) return this.infill.refuse(t('Open a file and put a cursor where code is missing.'), { kind: 'notReady' });
    if (this.refuses(action)) return;
    switch (action) {
      case 'infill':
        return this.infill.run(editor, holesOf(editor.selections));
      case 'alternatives': {
        const alternatives = Math.max(ALTERNATIVES, infillSettings(editor.document).alternatives);
        return this.infill.run(editor, holesOf(editor.selections), { alternatives });
      }
      case 'rewrite':
        return this.rewrite(editor);
      case 'repair':
        return this.fillHoles(editor, 'repair', linesOf(editor.selection, editor.document), { avoidDraft: true });
      case 'fillAll':
        return this.fillHoles(editor, 'fillAll', editor.selection.isEmpty ? undefined : editor.selection);
      case 'docComment':
        return this.fillHoles(editor, 'docComment', editor.selection, { kind: 'docComment' });
    }
  }

  /** Carries out the server's code action for a rewrite, which has no instruction, unless its document has moved on. */
  async askRewrite({ uri, version, range }: RewriteOrder): Promise<void> {
    if (this.refuses('rewrite')) return;
    const wanted = vscode.Uri.parse(uri).toString();
    const editor = [vscode.window.activeTextEditor, ...vscode.window.visibleTextEditors].find((each) => each?.document.uri.toString() === wanted);
    if (!editor) return this.fail(t('The document to rewrite is not in sight; nothing was rewritten.'));
    const isAsOffered = (): boolean => editor.document.version === version;
    const instruction = isAsOffered() ? await askInstruction(this.memory) : undefined;
    if (!isAsOffered()) return this.fail(t('The text has changed since the rewrite was offered; nothing was rewritten.'));
    if (instruction !== undefined) await this.infill.run(editor, [range], { instruction });
  }

  /** Says why an action is not to be had, if it is not. */
  private refuses(action: Action): boolean {
    if (!this.server.ready) {
      this.infill.refuse(t('The diffcoder server is not ready; the status bar says why.'), { kind: 'notReady' });
      return true;
    }
    const why = obstacle(action, this.server.abilities, t);
    if (why !== undefined) this.fail(why);
    return why !== undefined;
  }

  /** Says it in a notice and in the status bar. */
  private fail(message: string): void {
    this.infill.refuse(message, { kind: 'error', message });
  }

  /** Rewrites the selections, or the lines of the cursors. */
  private async rewrite(editor: vscode.TextEditor): Promise<void> {
    const instruction = await askInstruction(this.memory);
    if (instruction === undefined) return;
    const selections = editor.selections.map((selection) => (selection.isEmpty ? codeOf(selection, editor.document) : selection));
    await this.infill.run(editor, holesOf(selections), { instruction });
  }

  /** Asks the server where the holes are, then fills them. */
  private async fillHoles(editor: vscode.TextEditor, kind: HolesKind, range: vscode.Range | undefined, wish: Wish = {}): Promise<void> {
    const client = this.server.ready;
    if (!client) return;
    const { document } = editor;
    const params: HolesParams = {
      textDocument: client.code2ProtocolConverter.asVersionedTextDocumentIdentifier(document),
      kind,
      ...(range ? { range: client.code2ProtocolConverter.asRange(range) } : {}),
    };
    if (kind === 'repair' && range) {
      const near = vscode.languages.getDiagnostics(document.uri).filter((each) => each.range.intersection(range));
      params.diagnostics = await client.code2ProtocolConverter.asDiagnostics(near);
    }
    let holes: Span[];
    try {
      const plan = await client.sendRequest<HolesResult>(HOLES, params);
      if (document.version !== plan.version) return this.infill.refuse(t('The document changed while its holes were being filled.'), { kind: 'notReady' });
      holes = plan.holes.map((hole) => hole.range);
    } catch (error) {
      const { code, message } = error as { code?: number; message?: string };
      if (code === REQUEST_CANCELLED) return;
      const why = message ?? String(error);
      return this.infill.refuse(t('The infill failed: {0}', why), { kind: 'error', message: why });
    }
    if (holes.length === 0) return this.fail(nothingFound(kind));
    await this.infill.run(editor, holes, wish);
  }
}

function nothingFound(kind: HolesKind): string {
  switch (kind) {
    case 'fillAll':
      return t('There is no hole here: no todo!(), no empty body, no TODO line.');
    case 'repair':
      return t('There is nothing to repair here: the model finds no part unlikely.');
    case 'docComment':
      return t('There is no item here that could have a doc comment.');
  }
}

/** Whole lines, for what has no selection. */
function linesOf(selection: vscode.Selection, document: vscode.TextDocument): vscode.Range {
  return selection.isEmpty ? document.lineAt(selection.active.line).range : selection;
}

/** The line of a cursor without its indentation. */
function codeOf(selection: vscode.Selection, document: vscode.TextDocument): vscode.Range {
  const line = document.lineAt(selection.active.line);
  return new vscode.Range(line.range.start.translate(0, line.firstNonWhitespaceCharacterIndex), line.range.end);
}
