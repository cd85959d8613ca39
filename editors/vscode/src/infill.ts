// One infill at a time: ask the server, show its denoising, put the result forward, accept or reject it.

import * as vscode from 'vscode';
import { CancellationTokenSource } from 'vscode';

import type { Server } from './client.ts';
import { announces, infillSettings } from './config.ts';
import { DenoiseView } from './denoise_view.ts';
import type { Span } from './places.ts';
import { Proposal } from './proposal.ts';
import { CONTENT_MODIFIED, INFILL, REQUEST_CANCELLED, type FilledHole, type InfillParams, type InfillResult } from './protocol.ts';
import type { Nothing } from './status_text.ts';

/** Results that a retry asks for: where the model is sure, some draws bring what is known. */
const RETRY_RESULTS = 3;
/** A retry draws its tokens: the most likely ones are known by then. */
const RETRY_TEMPERATURE = 0.6;
const t = vscode.l10n.t;

/** What a request asks for besides what the settings say. */
export type Wish = Pick<InfillParams, 'instruction' | 'avoidDraft' | 'kind' | 'alternatives'>;

/** What was found for the same holes so far. */
interface Offer {
  wish: Wish;
  results: readonly FilledHole[][];
  /** Index of the result to show. */
  shown: number;
  tries: number;
}

interface Running {
  document: vscode.TextDocument;
  holes: readonly Span[];
  cancellation: CancellationTokenSource;
  /** Why it was cancelled, if not by the user. */
  why?: string;
}

export class Infill implements vscode.Disposable {
  running: Running | undefined;
  proposal: Proposal | undefined;
  private readonly changeEmitter = new vscode.EventEmitter<void>();
  /** Fires when `running` or `proposal` changed. */
  readonly onDidChange = this.changeEmitter.event;
  private n_requests = 0;
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly server: Server,
    private readonly report: { shown(latencyMs: number): void; notShown(why: Nothing, latencyMs?: number): void },
  ) {
    this.subscriptions = [
      vscode.workspace.onDidChangeTextDocument((event) => this.documentChanged(event)),
      vscode.workspace.onDidCloseTextDocument((document) => this.documentClosed(document)),
      vscode.window.onDidChangeVisibleTextEditors(() => this.proposal?.decorate()),
      vscode.window.onDidChangeActiveTextEditor(() => this.changed()),
    ];
  }

  isOpenIn(document: vscode.TextDocument): boolean {
    return this.running?.document === document || this.proposal?.document === document;
  }

  /** Fills holes, which are in the order of the document. */
  async run(editor: vscode.TextEditor, holes: readonly Span[], wish: Wish = {}): Promise<void> {
    this.accept();
    // From the menu the focus is elsewhere, and Escape must reach the editor.
    await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
    await this.fill(editor, holes, { wish, results: [], shown: 0, tries: 0 });
  }

  cancel(why?: string): void {
    if (!this.running) return;
    if (why !== undefined) this.running.why = why;
    this.running.cancellation.cancel();
  }

  accept(): void {
    this.settle();
  }

  async reject(): Promise<void> {
    if (await this.proposal?.reject()) this.settle();
  }

  async retry(): Promise<void> {
    const proposal = this.proposal;
    const editor = vscode.window.activeTextEditor;
    if (!proposal || !editor || editor.document !== proposal.document) return;
    if (!(await proposal.reject())) return;
    this.settle();
    const earlier = { wish: proposal.wish, results: proposal.results, shown: proposal.shown, tries: proposal.tries + 1 };
    await this.fill(editor, proposal.holes, earlier);
    // Cancelled or failed: what there was stays on offer.
    if (!this.proposal && editor.document.version === proposal.version) {
      await this.putForward(editor.document, proposal.holes, { ...earlier, tries: proposal.tries });
    }
  }

  /** Shows the alternative that many places on, round and round. */
  async turn(by: 1 | -1): Promise<void> {
    const proposal = this.proposal;
    if (!proposal) return;
    const { length } = proposal.results;
    if (length === 1) {
      void vscode.window.showInformationMessage(t('This infill has no other alternative; Retry draws a new one.'));
      return;
    }
    if (await proposal.show((proposal.shown + by + length) % length)) this.changed();
  }

  dispose(): void {
    this.cancel();
    this.settle();
    for (const subscription of this.subscriptions) subscription.dispose();
    this.changeEmitter.dispose();
  }

  private async fill(editor: vscode.TextEditor, holes: readonly Span[], earlier: Offer): Promise<void> {
    const client = this.server.ready;
    if (!client) return this.refuse(t('The diffcoder server is not ready; the status bar says why.'), { kind: 'notReady' });
    this.cancel();
    const { document } = editor;
    const running: Running = { document, holes, cancellation: new CancellationTokenSource() };
    this.running = running;
    this.changed();
    const settings = infillSettings(document);
    const frameToken = `infill-${++this.n_requests}`;
    const view = settings.preview ? new DenoiseView(editor, holes) : undefined;
    const frames = this.server.onFrame((frame) => {
      if (frame.token === frameToken) view?.show(frame.hole, frame.cells);
    });
    const params: InfillParams = {
      textDocument: client.code2ProtocolConverter.asVersionedTextDocumentIdentifier(document),
      ranges: [...holes],
      mode: settings.mode,
      alternatives: earlier.tries > 0 ? Math.max(settings.alternatives, RETRY_RESULTS) : settings.alternatives,
      maxTokens: settings.maxTokens,
      ...earlier.wish,
      ...(earlier.tries > 0 ? { temperature: RETRY_TEMPERATURE, seed: earlier.tries } : {}),
      ...(view ? { frameToken } : {}),
    };
    const start = performance.now();
    try {
      const result = await client.sendRequest<InfillResult>(INFILL, params, running.cancellation.token);
      view?.dispose();
      if (!running.cancellation.token.isCancellationRequested) {
        await this.propose(document, holes, result, earlier, performance.now() - start);
      } else {
        this.cancelled(running);
      }
    } catch (error) {
      this.failed(running, error);
    } finally {
      view?.dispose();
      frames.dispose();
      running.cancellation.dispose();
      if (this.running === running) this.running = undefined;
      this.changed();
    }
  }

  private async propose(
    document: vscode.TextDocument,
    holes: readonly Span[],
    result: InfillResult,
    earlier: Offer,
    latencyMs: number,
  ): Promise<void> {
    const all = distinct([...earlier.results, result.holes, ...(result.alternatives ?? [])]);
    // A retry brings one more, whatever it took to find it.
    const results = earlier.tries > 0 ? all.slice(0, earlier.results.length + 1) : all;
    if (results.length === earlier.results.length) {
      this.report.notShown({ kind: results.length === 0 ? 'emptyFills' : 'nothingNew' }, latencyMs);
      const message = results.length === 0 ? t('The model left every hole empty.') : t('The model found nothing new.');
      void vscode.window.showInformationMessage(message);
      return;
    }
    this.report.shown(latencyMs);
    await this.putForward(document, holes, { ...earlier, results, shown: earlier.results.length });
    if (this.proposal && announces()) {
      void vscode.window.showInformationMessage(
        t('{0} hole(s) filled. Control+Enter accepts, Escape rejects, Alt+Enter tries again.', holes.length),
      );
    }
  }

  private async putForward(document: vscode.TextDocument, holes: readonly Span[], offer: Offer): Promise<void> {
    this.proposal = new Proposal(document, holes, offer.results, offer.tries, offer.wish);
    const done = await this.proposal.show(offer.shown);
    this.changed();
    if (done) return;
    this.settle();
    const message = t('The document refused the infill: it may be read-only.');
    this.refuse(message, { kind: 'error', message });
  }

  private failed(running: Running, error: unknown): void {
    const { code, message } = error as { code?: number; message?: string };
    if (running.cancellation.token.isCancellationRequested || code === REQUEST_CANCELLED) {
      return this.cancelled(running);
    }
    if (code === CONTENT_MODIFIED) {
      const moved = t('The document changed while its holes were being filled.');
      return this.refuse(moved, { kind: 'error', message: moved });
    }
    const why = message ?? String(error);
    this.refuse(t('The infill failed: {0}', why), { kind: 'error', message: why });
  }

  private cancelled(running: Running): void {
    this.report.notShown(running.why === undefined ? { kind: 'cancelled' } : { kind: 'error', message: running.why });
  }

  /** Says why there is nothing to see. */
  refuse(message: string, why: Nothing): void {
    this.report.notShown(why);
    void vscode.window.showWarningMessage(message);
  }

  /** What is in the document stays; nothing is open any more. */
  private settle(): void {
    if (!this.proposal) return;
    this.proposal.dispose();
    this.proposal = undefined;
    this.changed();
  }

  private documentChanged(event: vscode.TextDocumentChangeEvent): void {
    if (event.contentChanges.length === 0) return;
    if (this.running?.document === event.document && !this.proposal) {
      this.cancel(t('the document changed while its holes were being filled'));
    }
    if (this.proposal?.document === event.document && this.proposal.meaningOf(event) !== 'ours') this.settle();
  }

  private documentClosed(document: vscode.TextDocument): void {
    if (this.running?.document === document) this.cancel();
    if (this.proposal?.document === document) this.settle();
  }

  private changed(): void {
    // Keys act on what is in front of the user, never on a hidden document.
    const document = vscode.window.activeTextEditor?.document;
    const runs = this.running !== undefined && this.running.document === document;
    const isPending = this.proposal !== undefined && this.proposal.document === document;
    void vscode.commands.executeCommand('setContext', 'diffcoder.infillRunning', runs);
    void vscode.commands.executeCommand('setContext', 'diffcoder.proposalPending', isPending);
    this.changeEmitter.fire();
  }
}

/** Results that fill something, each text once, their fills in the order of the document. */
function distinct(results: readonly FilledHole[][]): FilledHole[][] {
  const seen = new Set<string>();
  return results
    .map((fills) => [...fills].sort((a, b) => a.range.start.line - b.range.start.line || a.range.start.character - b.range.start.character))
    .filter((fills) => fills.some((fill) => fill.newText !== ''))
    .filter((fills) => {
      const key = JSON.stringify(fills.map((fill) => fill.newText));
      return !seen.has(key) && seen.add(key);
    });
}
