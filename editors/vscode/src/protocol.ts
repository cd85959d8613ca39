// What diffcoder-lsp adds to the language server protocol; mirrors docs/lsp-extensions.md.

import type { Place, Span } from './places.ts';

export const INFILL = 'diffcoder/infill';
export const FRAME = '$/diffcoder/frame';
export const SCORE = 'diffcoder/score';
export const HOLES = 'diffcoder/holes';
export const SEEN = 'diffcoder/seen';
export const STATUS = 'diffcoder/status';
export const STATUS_CHANGED = '$/diffcoder/status';
export const UNLOAD = 'diffcoder/unload';
export const RELOAD = 'diffcoder/reload';

/** Errors of the protocol that are no failures. Not from the language client's package, which is loaded later than this. */
export const REQUEST_CANCELLED = -32800;
export const CONTENT_MODIFIED = -32801;

export interface InfillParams {
  textDocument: { uri: string; version?: number };
  /** One hole each, disjoint; an empty range is a cursor. */
  ranges: Span[];
  mode?: 'joint' | 'independent';
  /** Number of results, 1 to 8. */
  alternatives?: number;
  /** Most tokens of a hole. */
  maxTokens?: number;
  /** 0 takes the most likely tokens. */
  temperature?: number;
  seed?: number;
  /** What to do with the text of the ranges. */
  instruction?: string;
  /** Whether the fill must differ from the text that it replaces. */
  avoidDraft?: boolean;
  /** What the fills are, if not code. */
  kind?: 'docComment';
  /** Asks for frames under this token. */
  frameToken?: string;
}

export interface FilledHole {
  range: Span;
  newText: string;
  /** From 0 to 1. */
  confidence: number;
  finish: 'endOfText' | 'tokenLimit' | 'lineLimit' | 'deadline';
}

export interface InfillResult {
  /** The document's version that the ranges belong to. */
  version: number | null;
  holes: FilledHole[];
  /** Further results, best first. */
  alternatives?: FilledHole[][];
  stats: { forwards: number; tokens: number; wallMs: number };
}

/** A piece of a fill's canvas: committed text, or `null` while it is a mask. */
export type Cell = { text: string; confidence: number } | null;

export interface Frame {
  token: string;
  /** Index into the request's ranges. */
  hole: number;
  range: Span;
  forwards: number;
  cells: Cell[];
}

export type HolesKind = 'fillAll' | 'repair' | 'docComment';

export interface HolesParams {
  textDocument: { uri: string; version?: number };
  kind: HolesKind;
  range?: Span;
  /** What other servers found wrong. */
  diagnostics?: unknown[];
}

export interface HolesResult {
  version: number;
  /** In the order of the document. */
  holes: { range: Span; reason: string }[];
}

/** A piece of a document that the user copied. */
export interface SeenParams {
  textDocument: { uri: string };
  range: Span;
}

/** What the server's code action for a rewrite hands to the command that asks for the instruction. */
export interface RewriteOrder {
  uri: string;
  version: number;
  range: Span;
}

export interface ScoreParams {
  textDocument: { uri: string; version?: number };
  range: Span;
  /** Number of likeliest tokens for each place. */
  alternatives?: number;
}

export interface ScoredToken {
  range: Span;
  logProbability: number;
  alternatives: { text: string; probability: number }[];
}

export interface ScoreResult {
  version: number;
  tokens: ScoredToken[];
}

/** What the server says of its model. */
export interface ModelStatus {
  state: 'idle' | 'busy' | 'loading' | 'unloaded' | 'failed';
  model: string;
  device: string;
  memoryBytes: number;
  lastLatencyMs?: number;
  /** Why the last request showed nothing. */
  lastReason?: string;
  message?: string;
}

export type { Place, Span };
