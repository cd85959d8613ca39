// The box that asks for an instruction, with the earlier ones below it.

import * as vscode from 'vscode';

import { offered, remembered } from './history.ts';

const KEY = 'diffcoder.instructions';
const t = vscode.l10n.t;

/** The instruction, or nothing if the user leaves without one. */
export async function askInstruction(memory: vscode.Memento): Promise<string | undefined> {
  const history = memory.get<string[]>(KEY, []);
  const box = vscode.window.createQuickPick();
  box.title = t('Rewrite with Instruction');
  box.placeholder = t('What should change? Enter rewrites, Escape leaves; the list has earlier instructions.');
  const offer = (): void => {
    // Shown whatever is typed: the filter of the box must not hide the text itself.
    box.items = offered(history, box.value).map((label) => ({ label, alwaysShow: true }));
  };
  offer();
  const typing = box.onDidChangeValue(offer);
  const answer = await new Promise<string | undefined>((resolve) => {
    box.onDidAccept(() => resolve(box.selectedItems[0]?.label ?? box.value.trim()));
    box.onDidHide(() => resolve(undefined));
    box.show();
  });
  typing.dispose();
  box.dispose();
  if (answer === undefined || answer === '') return undefined;
  await memory.update(KEY, remembered(history, answer));
  return answer;
}
