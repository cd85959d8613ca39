// Plain places to the editor's and back.

import * as vscode from 'vscode';

import type { Span } from './places.ts';

export function rangeOf({ start, end }: Span): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}
