// First use: the walkthrough, its example, and its buttons, which mean the editor beside it.

import * as vscode from 'vscode';

import { SELECTOR } from './client.ts';
import { withoutMarks } from './example.ts';

const EXAMPLE = ['media', 'walkthrough', 'example.rs.txt'];

export async function openWalkthrough(extensionId: string): Promise<void> {
  await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${extensionId}#start`, false);
}

/** Opens the example in a new file that is on no disk, a cursor in each of its holes. */
export async function openExample(extensionFolder: vscode.Uri): Promise<void> {
  const bytes = await vscode.workspace.fs.readFile(vscode.Uri.joinPath(extensionFolder, ...EXAMPLE));
  const { text, offsets } = withoutMarks(new TextDecoder().decode(bytes));
  const document = await vscode.workspace.openTextDocument({ language: 'rust', content: text });
  // Beside the walkthrough, if that is in front.
  const isElsewhere = !vscode.window.activeTextEditor && vscode.window.tabGroups.activeTabGroup.activeTab !== undefined;
  const viewColumn = isElsewhere ? vscode.ViewColumn.Beside : vscode.ViewColumn.Active;
  const editor = await vscode.window.showTextDocument(document, { viewColumn, preview: false });
  editor.selections = offsets.map((offset) => {
    const place = document.positionAt(offset);
    return new vscode.Selection(place, place);
  });
}

/** Runs it in the only editor in sight if none has the focus, as when a button of the walkthrough was clicked. */
export async function inEditor(run: () => unknown): Promise<void> {
  if (!vscode.window.activeTextEditor) {
    const served = vscode.window.visibleTextEditors.filter(({ document }) => SELECTOR.some(({ scheme }) => scheme === document.uri.scheme));
    const [editor, ...others] = served;
    if (editor && others.length === 0) await vscode.window.showTextDocument(editor.document, editor.viewColumn);
  }
  await run();
}
