// What the status bar item says. No editor in here; `t` translates.

import type { ModelStatus } from './protocol.ts';

export type Translate = (message: string, ...values: (string | number)[]) => string;

export type ServerState =
  | { kind: 'starting' }
  | { kind: 'ready'; version: string }
  | { kind: 'restarting'; delayMs: number; attempt: number }
  | { kind: 'stopped' }
  | { kind: 'failed'; reason: string }
  | { kind: 'missing'; setting: string };

/** Why a request showed nothing. */
export type Nothing =
  | { kind: 'noSuggestion' }
  | { kind: 'paused' }
  | { kind: 'languageOff'; language: string }
  | { kind: 'notReady' }
  | { kind: 'infill' }
  | { kind: 'cancelled' }
  | { kind: 'emptyFills' }
  | { kind: 'nothingNew' }
  | { kind: 'error'; message: string };

export interface Situation {
  server: ServerState;
  /** Whether the user trusts the workspace; the server computes nothing otherwise. */
  trusted: boolean;
  paused: boolean;
  /** The active editor's language, if suggestions are off for it. */
  languageOff: string | undefined;
  /** Holes being filled, 0 if none. */
  filling: number;
  /** Position of the shown alternative from 1, and their number. */
  proposal: { shown: number; of: number } | undefined;
  lastLatencyMs: number | undefined;
  nothing: Nothing | undefined;
  /** As the server says, if it says so. */
  model: ModelStatus | undefined;
  /** Of the active document's heat map: on its way, or the number of surprising tokens. */
  heat: 'scoring' | number | undefined;
}

export interface StatusText {
  text: string;
  /** Lines of the tooltip; the first says the state. */
  lines: string[];
  severity: 'normal' | 'warning' | 'error';
}

export function statusText(now: Situation, t: Translate): StatusText {
  const { icon, state, severity } = headline(now, t);
  const latency = now.lastLatencyMs === undefined ? undefined : latencyText(now.lastLatencyMs, t);
  const showsLatency = latency !== undefined && now.server.kind === 'ready' && !now.paused && now.filling === 0;
  const lines = [state];
  if (latency !== undefined) lines.push(t('Last result: {0}', latency));
  if (now.nothing) lines.push(t('Nothing was shown: {0}', reason(now.nothing, t, now.model?.lastReason)));
  if (now.heat === 'scoring') lines.push(t('The heat map is on its way'));
  else if (now.heat !== undefined) lines.push(t('Heat map: {0} surprising token(s)', now.heat));
  const { model } = now;
  if (model && now.server.kind === 'ready') {
    const megabytes = Math.round(model.memoryBytes / 2 ** 20);
    lines.push(t('Model {0} on {1}, {2} MB', model.model, model.device, megabytes));
  }
  return { text: `$(${icon}) diffcoder${showsLatency ? ` ${latency}` : ''}`, lines, severity };
}

function headline(now: Situation, t: Translate): { icon: string; state: string; severity: StatusText['severity'] } {
  const { server } = now;
  switch (server.kind) {
    case 'starting':
      return { icon: 'loading~spin', state: t('The server is starting'), severity: 'normal' };
    case 'restarting':
      return {
        icon: 'debug-restart',
        state: t('The server ended; start {0} follows in {1} s', server.attempt, server.delayMs / 1000),
        severity: 'warning',
      };
    case 'stopped':
      return { icon: 'circle-slash', state: t('The server is stopped'), severity: 'normal' };
    case 'failed':
      return { icon: 'error', state: t('The server does not run: {0}', server.reason), severity: 'error' };
    case 'missing':
      return { icon: 'error', state: missingText(server.setting, t), severity: 'error' };
    case 'ready':
      break;
  }
  if (!now.trusted) {
    return { icon: 'shield', state: t('Restricted Mode: nothing is computed until you trust this workspace'), severity: 'normal' };
  }
  if (now.filling > 0) {
    return { icon: 'loading~spin', state: t('Filling {0} hole(s); Escape cancels', now.filling), severity: 'normal' };
  }
  if (now.proposal) {
    const { shown, of } = now.proposal;
    return { icon: 'diff', state: t('Infill {0} of {1}: accept or reject it', shown, of), severity: 'normal' };
  }
  switch (now.model?.state) {
    case 'failed':
      return { icon: 'error', state: t('The model failed: {0}', now.model.message ?? ''), severity: 'error' };
    case 'loading':
      return { icon: 'loading~spin', state: t('The model is being loaded'), severity: 'normal' };
    case 'unloaded':
      return { icon: 'archive', state: t('The model is unloaded; the next request loads it'), severity: 'normal' };
    case 'busy':
    case 'idle':
    case undefined:
      break;
  }
  if (now.paused) return { icon: 'debug-pause', state: t('Paused in this window'), severity: 'normal' };
  if (now.languageOff !== undefined) {
    return { icon: 'circle-slash', state: t('Suggestions are off for {0}', now.languageOff), severity: 'normal' };
  }
  return { icon: 'sparkle', state: t('Ready (server {0})', server.version), severity: 'normal' };
}

/** One sentence for a server that was not found. */
export function missingText(setting: string, t: Translate): string {
  return setting === ''
    ? t('diffcoder-lsp was not found in the extension or on PATH; build it with "cargo install --path lsp" in a clone of diffcoder, or name it in the setting diffcoder.server.path.')
    : t('The setting diffcoder.server.path names {0}, which is not a program; it needs the absolute path of diffcoder-lsp.', setting);
}

export function latencyText(milliseconds: number, t: Translate): string {
  return milliseconds < 1000 ? t('{0} ms', Math.round(milliseconds)) : t('{0} s', (milliseconds / 1000).toFixed(1));
}

/** `said` is what the server gave as the reason, which knows more than we do. */
export function reason(nothing: Nothing, t: Translate, said?: string): string {
  switch (nothing.kind) {
    case 'noSuggestion':
      return said ?? t('the model had nothing to add here');
    case 'paused':
      return t('suggestions are paused');
    case 'languageOff':
      return t('suggestions are off for {0}', nothing.language);
    case 'notReady':
      return t('the server was not ready');
    case 'infill':
      return t('an infill is open in this document');
    case 'cancelled':
      return t('the infill was cancelled');
    case 'emptyFills':
      return t('the model left every hole empty');
    case 'nothingNew':
      return t('the model found nothing new');
    case 'error':
      return nothing.message;
  }
}
