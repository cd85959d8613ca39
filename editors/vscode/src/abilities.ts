// What the running server and its model can do, and the reason for what they cannot. No editor in here.

import type { Translate } from './status_text.ts';

/** What the server said of itself under `experimental.diffcoder`; older ones know less. */
export interface Abilities {
  infill: boolean;
  score: boolean;
  holes: boolean;
  status: boolean;
  /** Wants to know what is copied. */
  seen: boolean;
  /** `true`, or why the model cannot; absent in a server that does not know instructions. */
  rewrite: true | { disabled: string } | undefined;
}

/** Things to do in a document besides the heat map. */
export type Action = 'infill' | 'alternatives' | 'rewrite' | 'repair' | 'fillAll' | 'docComment';

/** What is done with the model, in the order of the menu. */
export const ACTIONS: readonly Action[] = ['infill', 'rewrite', 'repair', 'fillAll', 'docComment', 'alternatives'];

export function abilitiesOf(capabilities: { experimental?: unknown } | undefined): Abilities {
  const experimental = capabilities?.experimental as { diffcoder?: Partial<Record<keyof Abilities, unknown>> } | null | undefined;
  const said = experimental?.diffcoder ?? {};
  return {
    infill: said.infill === true,
    score: said.score === true,
    holes: said.holes === true,
    status: said.status === true,
    seen: said.seen === true,
    rewrite: said.rewrite === true ? true : reasonIn(said.rewrite),
  };
}

function reasonIn(rewrite: unknown): { disabled: string } | undefined {
  const disabled = (rewrite as { disabled?: unknown } | null | undefined)?.disabled;
  return typeof disabled === 'string' ? { disabled } : undefined;
}

/** Why an action is not to be had, if it is not. */
export function obstacle(action: Action, can: Abilities, t: Translate): string | undefined {
  if (!can.infill) return t('This diffcoder-lsp is too old: it does not know diffcoder/infill.');
  switch (action) {
    case 'infill':
    case 'alternatives':
      return undefined;
    case 'rewrite':
      if (can.rewrite === undefined) return t('This diffcoder-lsp is too old: it does not know instructions.');
      return can.rewrite === true ? undefined : can.rewrite.disabled;
    case 'repair':
    case 'fillAll':
    case 'docComment':
      return can.holes ? undefined : t('This diffcoder-lsp is too old: it does not know diffcoder/holes.');
  }
}
