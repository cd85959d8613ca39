// The settings, typed.

import * as vscode from 'vscode';

export interface InfillSettings {
  mode: 'joint' | 'independent';
  alternatives: number;
  maxTokens: number;
  preview: boolean;
}

export interface ServerSettings {
  path: string;
  model: string;
  logLevel: string;
}

function section(scope?: vscode.ConfigurationScope): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration('diffcoder', scope);
}

/** Whether to suggest while typing in this document. */
export function isEnabled(document: vscode.TextDocument): boolean {
  return section(document).get('enable', true);
}

export function infillSettings(document: vscode.TextDocument): InfillSettings {
  const settings = section(document);
  return {
    mode: settings.get('infill.mode', 'joint'),
    alternatives: settings.get('infill.alternatives', 1),
    maxTokens: settings.get('infill.maxTokens', 64),
    preview: settings.get('infill.preview', true),
  };
}

export function serverSettings(): ServerSettings {
  const settings = section();
  return {
    path: settings.get('server.path', ''),
    model: settings.get('server.model', ''),
    logLevel: settings.get('server.logLevel', 'warn'),
  };
}

/** Whether to say the end of an infill in a notification. */
export function announces(): boolean {
  const announce = section().get('announce', 'auto');
  if (announce !== 'auto') return announce === 'on';
  return vscode.workspace.getConfiguration('editor').get('accessibilitySupport') === 'on';
}

/** Whether the user asked for less motion. */
export function reducesMotion(): boolean {
  return vscode.workspace.getConfiguration('workbench').get('reduceMotion') === 'on';
}

/** Switches suggestions for the document's language, in the user's settings. */
export async function toggleLanguage(document: vscode.TextDocument): Promise<void> {
  const settings = section({ languageId: document.languageId });
  await settings.update('enable', !isEnabled(document), vscode.ConfigurationTarget.Global, true);
}

/** Names another model directory in the user's settings; empty for the model inside the server. */
export async function setModel(folder: string): Promise<void> {
  await section().update('server.model', folder === '' ? undefined : folder, vscode.ConfigurationTarget.Global);
}
