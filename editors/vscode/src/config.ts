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
  /** Settings that the server takes from nobody but the one who starts it, as environment variables. */
  environment: Record<string, string>;
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
    environment: chosen({
      DIFFCODER_SERVER_LOG_FILE: [settings.get('server.logFile', ''), ''],
      DIFFCODER_SERVER_LOG_TEXT: [settings.get('server.logText', false), false],
      DIFFCODER_SERVER_STATS: [settings.get('server.stats', true), true],
      DIFFCODER_SERVER_IDLE_UNLOAD_MINUTES: [settings.get('server.idleUnloadMinutes', 30), 30],
    }),
  };
}

/** The variables whose value is not the default: a default would hide what the user's config.toml says. */
function chosen(variables: Record<string, [value: unknown, byDefault: unknown]>): Record<string, string> {
  const others = Object.entries(variables).filter(([, [value, byDefault]]) => value !== byDefault);
  return Object.fromEntries(others.map(([name, [value]]) => [name, String(value)]));
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
