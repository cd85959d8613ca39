// What diffcoder-lsp adds to the language server protocol; mirrors docs/lsp-extensions.md.

import type { Place, Span } from './places.ts';

export const INFILL = 'diffcoder/infill';
export const FRAME = '$/diffcoder/frame';

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

export type { Place, Span };

/** Whether the server's capabilities, as it sent them, include `diffcoder/infill`. */
export function offersInfill(capabilities: { experimental?: unknown } | undefined): boolean {
  const experimental = capabilities?.experimental as { diffcoder?: { infill?: unknown } } | undefined;
  return experimental?.diffcoder?.infill === true;
}
