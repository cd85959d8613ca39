// What the server is told of this extension when it is started.

import type { StaticFeature } from 'vscode-languageclient/node';

export const announcement: StaticFeature = {
  fillClientCapabilities(capabilities) {
    // The command diffcoder.askRewrite is ours: the server's code action may call it.
    capabilities.experimental = { ...capabilities.experimental, diffcoder: { asksInstruction: true } };
  },
  initialize() {},
  getState: () => ({ kind: 'static' }),
  clear() {},
};
