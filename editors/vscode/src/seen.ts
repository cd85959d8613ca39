// Tells the server what the user copies: the lines around it may matter to the model where they go next.

import * as vscode from 'vscode';
import type { BaseLanguageClient, StaticFeature } from 'vscode-languageclient/node';

import { abilitiesOf } from './abilities.ts';
import { SEEN, type SeenParams } from './protocol.ts';

/** A cut comes as a copy does: what tells it is that the document changes at most so long before or after. */
const CUT_MS = 200;

/** What VS Code has since 1.97, which is newer than its types here: the only way to learn of a copy. */
interface CopyApi {
  registerDocumentPasteEditProvider?(
    selector: vscode.DocumentSelector,
    provider: { prepareDocumentPaste(document: vscode.TextDocument, ranges: readonly vscode.Range[]): void },
    metadata: { providedPasteEditKinds: readonly []; copyMimeTypes: readonly [] },
  ): vscode.Disposable;
}

/** Follows the copies of documents that `client` serves, if its server wants to know. */
export function seenFeature(client: BaseLanguageClient): StaticFeature {
  let provider: vscode.Disposable | undefined;
  return {
    fillClientCapabilities() {},
    initialize(capabilities, selector) {
      if (!selector || !abilitiesOf(capabilities).seen) return;
      provider = onCopy(client.protocol2CodeConverter.asDocumentSelector(selector), (document, range) => {
        const params: SeenParams = {
          textDocument: client.code2ProtocolConverter.asTextDocumentIdentifier(document),
          range: client.code2ProtocolConverter.asRange(range),
        };
        // A server that is gone has missed nothing.
        client.sendNotification(SEEN, params).catch(() => {});
      });
    },
    getState: () => ({ kind: 'static' }),
    clear() {
      provider?.dispose();
      provider = undefined;
    },
  };
}

/** Calls `act` with what was copied, of several cursors the first; without the means to learn of it, never. */
function onCopy(selector: vscode.DocumentSelector, act: (document: vscode.TextDocument, range: vscode.Range) => void): vscode.Disposable | undefined {
  /** When a document was changed last. */
  const changes = new WeakMap<vscode.TextDocument, number>();
  const prepareDocumentPaste = (document: vscode.TextDocument, [range]: readonly vscode.Range[]): void => {
    const start = performance.now();
    setTimeout(() => {
      const isCut = (changes.get(document) ?? -Infinity) > start - CUT_MS;
      if (range && !document.isClosed && !isCut) act(document, range);
    }, CUT_MS);
  };
  let provider: vscode.Disposable | undefined;
  try {
    // Without a kind of paste edit, and without the function that makes one, nothing changes where the user pastes.
    provider = (vscode.languages as CopyApi).registerDocumentPasteEditProvider?.(selector, { prepareDocumentPaste }, { providedPasteEditKinds: [], copyMimeTypes: [] });
  } catch {
    // Before 1.97 it is there and refuses: a proposal, which only extensions of a list may use.
  }
  return provider && vscode.Disposable.from(
    provider,
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      if (contentChanges.length > 0) changes.set(document, performance.now());
    }),
  );
}
