// The heat map: tokens coloured by how likely the model finds them, with its alternatives in the hover.

import * as vscode from 'vscode';
import { CancellationTokenSource } from 'vscode';

import { SELECTOR, type Server } from './client.ts';
import { LEVELS, alternativesTo, codeSpan, isVisible, levelOf, neighbour, percent, pieces, tokenAt } from './heat.ts';
import { oneLine } from './canvas.ts';
import type { Span } from './places.ts';
import { CONTENT_MODIFIED, REQUEST_CANCELLED, SCORE, type ScoreParams, type ScoreResult, type ScoredToken } from './protocol.ts';
import { rangeOf } from './ranges.ts';

const ALTERNATIVES = 5;
/** After the last change, since every change moves the likelihoods of what follows. */
const PAUSE_MS = 400;
const REPLACE = 'diffcoder.heatMap.replace';
const t = vscode.l10n.t;

/** Of one document. */
interface Heat {
  /** What is coloured; the whole document without one. */
  readonly selection: vscode.Range | undefined;
  tokens: ScoredToken[];
  /** Whether `tokens` are all there. */
  isDone: boolean;
  cancellation: CancellationTokenSource;
  timer?: NodeJS.Timeout;
}

/** What a click in the hover, or the list of alternatives, asks for. */
interface Replacement {
  uri: string;
  version: number;
  range: Span;
  newText: string;
}

export class HeatMap implements vscode.Disposable {
  private readonly heats = new Map<vscode.TextDocument, Heat>();
  private readonly styles = Array.from({ length: LEVELS }, (_, index) =>
    vscode.window.createTextEditorDecorationType({
      backgroundColor: new vscode.ThemeColor(`diffcoder.heat${index + 1}Background`),
      // In high-contrast themes the hottest have a border, so that colour is not all there is.
      borderColor: new vscode.ThemeColor('diffcoder.heatBorder'),
      border: index + 1 === LEVELS ? '1px solid' : '0',
      rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
    }),
  );
  private readonly changeEmitter = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changeEmitter.event;
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly server: Server,
    /** Told of what went wrong. */
    private readonly refuse: (message: string) => void,
  ) {
    this.subscriptions = [
      vscode.languages.registerHoverProvider([...SELECTOR], { provideHover: (document, position) => this.hover(document, position) }),
      vscode.workspace.onDidChangeTextDocument((event) => this.documentChanged(event)),
      vscode.workspace.onDidCloseTextDocument((document) => this.remove(document)),
      vscode.window.onDidChangeVisibleTextEditors((editors) => editors.forEach((editor) => this.draw(editor.document))),
      vscode.window.onDidChangeActiveTextEditor(() => this.changed()),
    ];
  }

  /** What the status bar says of the active document: nothing, `scoring`, or the number of surprising tokens. */
  get state(): 'scoring' | number | undefined {
    const document = vscode.window.activeTextEditor?.document;
    const heat = document && this.heats.get(document);
    if (!document || !heat) return undefined;
    return heat.isDone ? this.hot(document, heat).length : 'scoring';
  }

  /** Colours the selection, or the file without one; takes the colours away if there are any. */
  async toggle(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor) return this.refuse(t('Open a file: the heat map colours the one in front.'));
    const { document } = editor;
    if (this.heats.has(document)) return this.remove(document);
    if (!this.server.ready) return this.refuse(t('The diffcoder server is not ready; the status bar says why.'));
    if (!this.server.abilities.score) return this.refuse(t('This diffcoder-lsp is too old: it does not know diffcoder/score.'));
    const selections = editor.selections.filter((selection) => !selection.isEmpty);
    const selection = selections.length === 0 ? undefined : selections.reduce<vscode.Range>((a, b) => a.union(b), selections[0] as vscode.Range);
    const heat: Heat = { selection, tokens: [], isDone: false, cancellation: new CancellationTokenSource() };
    this.heats.set(document, heat);
    this.changed();
    await this.score(document, heat);
  }

  /** Puts the cursor on the next surprising token, or on the one before. */
  go(by: 1 | -1): void {
    const editor = vscode.window.activeTextEditor;
    const heat = editor && this.heats.get(editor.document);
    if (!editor || !heat) return;
    const starts = this.hot(editor.document, heat).map(({ range }) => range.start);
    const to = neighbour(starts, editor.selection.active, by);
    if (!to) return;
    const position = new vscode.Position(to.line, to.character);
    editor.selection = new vscode.Selection(position, position);
    editor.revealRange(new vscode.Range(position, position), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }

  /** The alternatives to the token at the cursor as a list: what the hover has, for the keyboard. */
  async choose(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    const heat = editor && this.heats.get(editor.document);
    const token = heat && tokenAt(heat.tokens, editor.selection.active);
    if (!editor || !token) return;
    const { document } = editor;
    const text = document.getText(rangeOf(token.range));
    const replacements = alternativesTo(token, text).map(({ text: newText, probability }) => ({
      label: oneLine(newText),
      description: percent(probability),
      replacement: { uri: document.uri.toString(), version: document.version, range: token.range, newText },
    }));
    const title = t('{0} has a likelihood of {1}', oneLine(text), percent(Math.exp(token.logProbability)));
    const choice = await vscode.window.showQuickPick(replacements, { title, placeHolder: t('Replace it with') });
    if (choice) await this.replace(choice.replacement);
  }

  /** Replaces a token, unless its document has moved on. */
  async replace({ uri, version, range, newText }: Replacement): Promise<void> {
    const document = vscode.workspace.textDocuments.find((each) => each.uri.toString() === uri);
    if (!document || document.version !== version) return this.refuse(t('The text has changed since it was coloured; nothing was replaced.'));
    const edit = new vscode.WorkspaceEdit();
    edit.replace(document.uri, rangeOf(range), newText);
    await vscode.workspace.applyEdit(edit);
  }

  /** Takes all colours away. */
  clear(): void {
    for (const document of [...this.heats.keys()]) this.remove(document);
  }

  dispose(): void {
    this.clear();
    for (const disposable of [...this.styles, ...this.subscriptions, this.changeEmitter]) disposable.dispose();
  }

  private async score(document: vscode.TextDocument, heat: Heat): Promise<void> {
    const client = this.server.ready;
    if (!client) return this.remove(document);
    const { token } = heat.cancellation;
    const visible = vscode.window.visibleTextEditors.find((editor) => editor.document === document)?.visibleRanges[0];
    const whole = document.validateRange(heat.selection ?? new vscode.Range(0, 0, document.lineCount, 0));
    const first = visible && { from: visible.start.line, to: visible.end.line };
    try {
      for (const range of pieces({ start: whole.start, end: whole.end }, first)) {
        const params: ScoreParams = {
          textDocument: client.code2ProtocolConverter.asVersionedTextDocumentIdentifier(document),
          range: { start: { line: range.start.line, character: range.start.character }, end: { line: range.end.line, character: range.end.character } },
          alternatives: ALTERNATIVES,
        };
        const result = await client.sendRequest<ScoreResult>(SCORE, params, token);
        if (token.isCancellationRequested) return;
        heat.tokens.push(...result.tokens);
        this.draw(document);
      }
      heat.isDone = true;
      this.changed();
    } catch (error) {
      const { code, message } = error as { code?: number; message?: string };
      const isStale = code === REQUEST_CANCELLED || code === CONTENT_MODIFIED;
      // What took its place, or the change of the document, starts anew.
      if (token.isCancellationRequested || isStale) return;
      this.remove(document);
      this.refuse(t('The heat map failed: {0}', message ?? String(error)));
    }
  }

  private documentChanged({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const heat = this.heats.get(document);
    if (!heat || contentChanges.length === 0) return;
    // The colours stay where they are, the editor moves them; their numbers are of a text that is gone.
    heat.cancellation.cancel();
    clearTimeout(heat.timer);
    const next: Heat = { selection: heat.selection && shifted(heat.selection, contentChanges), tokens: [], isDone: false, cancellation: new CancellationTokenSource() };
    next.timer = setTimeout(() => void this.score(document, next), PAUSE_MS);
    this.heats.set(document, next);
    this.changed();
  }

  private remove(document: vscode.TextDocument): void {
    const heat = this.heats.get(document);
    if (!heat) return;
    heat.cancellation.cancel();
    clearTimeout(heat.timer);
    this.heats.delete(document);
    this.draw(document);
    this.changed();
  }

  /** Tokens with a colour. */
  private hot(document: vscode.TextDocument, heat: Heat): ScoredToken[] {
    return heat.tokens.filter((token) => isVisible(token, document.getText(rangeOf(token.range))));
  }

  private draw(document: vscode.TextDocument): void {
    const heat = this.heats.get(document);
    const hot = heat ? this.hot(document, heat) : [];
    for (const editor of vscode.window.visibleTextEditors.filter((each) => each.document === document)) {
      this.styles.forEach((style, index) => {
        editor.setDecorations(style, hot.filter((token) => levelOf(token) === index + 1).map(({ range }) => trimmed(document, rangeOf(range))));
      });
    }
  }

  private hover(document: vscode.TextDocument, position: vscode.Position): vscode.Hover | undefined {
    const token = tokenAt(this.heats.get(document)?.tokens ?? [], position);
    if (!token) return undefined;
    const range = rangeOf(token.range);
    const text = document.getText(range);
    const lines = [t('Likelihood of {0}: {1}', codeSpan(text), percent(Math.exp(token.logProbability)))];
    for (const { text: newText, probability } of alternativesTo(token, text)) {
      const replacement: Replacement = { uri: document.uri.toString(), version: document.version, range: token.range, newText };
      const target = vscode.Uri.parse(`command:${REPLACE}?${encodeURIComponent(JSON.stringify([replacement]))}`);
      lines.push(`- [${codeSpan(newText)}](${target} "${t('Replace')}") ${percent(probability)}`);
    }
    const content = new vscode.MarkdownString(lines.join('\n'));
    content.isTrusted = { enabledCommands: [REPLACE] };
    return new vscode.Hover(content, range);
  }

  private changed(): void {
    const document = vscode.window.activeTextEditor?.document;
    void vscode.commands.executeCommand('setContext', 'diffcoder.heatMapShown', document !== undefined && this.heats.has(document));
    this.changeEmitter.fire();
  }
}

/** Without the blanks before and after: a coloured blank at a line's start would look like an error. */
function trimmed(document: vscode.TextDocument, range: vscode.Range): vscode.Range {
  const text = document.getText(range);
  const start = document.offsetAt(range.start);
  const lead = text.length - text.trimStart().length;
  return new vscode.Range(document.positionAt(start + lead), document.positionAt(start + text.trimEnd().length));
}

/** Where a selection's lines are after changes; what is typed at its edges counts in. */
function shifted(range: vscode.Range, changes: readonly vscode.TextDocumentContentChangeEvent[]): vscode.Range {
  let { start, end } = range;
  for (const { range: old, text } of changes) {
    const lines = text.split('\n').length - 1 - (old.end.line - old.start.line);
    if (old.end.isBefore(start) && old.end.line < start.line) start = start.translate(lines);
    if (old.start.isBeforeOrEqual(end)) end = new vscode.Position(Math.max(end.line + lines, start.line), Number.MAX_SAFE_INTEGER);
  }
  return new vscode.Range(start, end);
}
