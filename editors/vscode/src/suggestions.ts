// Ghost text: the language client provides it, this watches over it: when to ask, how long it took, why nothing came.

import * as vscode from 'vscode';
import type { Middleware } from 'vscode-languageclient/node';

import { isEnabled } from './config.ts';
import type { Nothing } from './status_text.ts';

export interface SuggestionHost {
  paused(): boolean;
  /** Whether an infill of this document runs or waits for an answer. */
  infillIsOpen(document: vscode.TextDocument): boolean;
  shown(latencyMs: number): void;
  notShown(why: Nothing, latencyMs?: number): void;
}

/** Middleware of the language client's inline completion. */
export function suggestionMiddleware(host: SuggestionHost): Middleware {
  return {
    async provideInlineCompletionItems(document, position, context, token, next) {
      const why = refusal(host, document, context);
      if (why) {
        host.notShown(why);
        return [];
      }
      const start = performance.now();
      const result = await next(document, position, context, token);
      // A newer request is on its way; it will say what came of it.
      if (token.isCancellationRequested) return result;
      const latency = performance.now() - start;
      const items = Array.isArray(result) ? result : (result?.items ?? []);
      if (items.length > 0) host.shown(latency);
      else host.notShown({ kind: 'noSuggestion' }, latency);
      return result;
    },
  };
}

function refusal(
  host: SuggestionHost,
  document: vscode.TextDocument,
  context: vscode.InlineCompletionContext,
): Nothing | undefined {
  // The server serves the newest request of a document: a suggestion would end the infill.
  if (host.infillIsOpen(document)) return { kind: 'infill' };
  if (context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke) return undefined;
  if (host.paused()) return { kind: 'paused' };
  if (!isEnabled(document)) return { kind: 'languageOff', language: document.languageId };
  return undefined;
}
