// Accept, Reject and Retry above a proposed infill.

import * as vscode from 'vscode';

import { SELECTOR } from './client.ts';
import type { Infill } from './infill.ts';

const t = vscode.l10n.t;

export function registerLenses(infill: Infill): vscode.Disposable {
  return vscode.languages.registerCodeLensProvider([...SELECTOR], {
    onDidChangeCodeLenses: infill.onDidChange,
    provideCodeLenses: (document) => {
      const { proposal } = infill;
      if (proposal?.document !== document || proposal.firstLine === undefined) return [];
      const line = new vscode.Range(proposal.firstLine, 0, proposal.firstLine, 0);
      const lens = (title: string, command: string): vscode.CodeLens => new vscode.CodeLens(line, { title, command });
      const lenses = [
        lens(`$(check) ${t('Accept')}`, 'diffcoder.infill.accept'),
        lens(`$(close) ${t('Reject')}`, 'diffcoder.infill.reject'),
        lens(`$(refresh) ${t('Retry')}`, 'diffcoder.infill.retry'),
      ];
      const { length } = proposal.results;
      if (length > 1) {
        lenses.push(lens(`$(arrow-right) ${t('Alternative {0} of {1}', proposal.shown + 1, length)}`, 'diffcoder.infill.nextAlternative'));
      }
      return lenses;
    },
  });
}
