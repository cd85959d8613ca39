// The workbenches and what is tested in each.

import { Workbench } from './workbench.mjs';
import { files } from './files.mjs';
import * as actions from './actions.mjs';
import * as copies from './copies.mjs';
import * as heat from './heat.mjs';
import * as suggestions from './suggestions.mjs';
import * as infill from './infill.mjs';
import * as life from './life.mjs';
import * as looks from './looks.mjs';
import * as trust from './trust.mjs';
import * as welcome from './welcome.mjs';

const SETTINGS = {
  'diffcoder.infill.maxTokens': 24,
  // An infill that lasts long enough to be cancelled.
  '[python]': { 'diffcoder.infill.maxTokens': 64, 'diffcoder.infill.alternatives': 8 },
};

export const scenarios = [
  {
    name: 'editing',
    open: ({ tools, vsix, logs, root }) =>
      Workbench.open({ tools, vsix, logs, files: files(root), settings: SETTINGS }),
    tests: { ...suggestions.tests, ...infill.tests, ...heat.tests, ...actions.testsWithModel, ...looks.tests, ...life.tests },
  },
  {
    name: 'actions',
    open: (setting) => actions.open({ ...setting, settings: SETTINGS }),
    // The last ones change the server.
    tests: { ...copies.tests, ...actions.tests, ...copies.testsOfOthers },
  },
  {
    name: 'first use',
    open: (setting) => welcome.open({ ...setting, settings: SETTINGS }),
    tests: welcome.tests,
  },
  {
    name: 'light theme',
    open: themed('Default Light Modern'),
    tests: looks.testsOfTheme('.vs', 'theme-light.png'),
  },
  {
    name: 'high-contrast theme',
    open: themed('Default High Contrast'),
    tests: looks.testsOfTheme('.hc-black', 'theme-high-contrast.png'),
  },
  {
    name: 'restricted mode',
    open: trust.open,
    tests: trust.tests,
  },
  {
    name: 'no server',
    open: ({ tools, vsixWithoutServer, logs, root }) => Workbench.open({ tools, vsix: vsixWithoutServer, logs, files: files(root) }),
    tests: life.testsWithoutServer,
  },
];

function themed(theme) {
  return ({ tools, vsix, logs, root }) =>
    Workbench.open({ tools, vsix, logs, files: files(root), settings: { ...SETTINGS, 'workbench.colorTheme': theme } });
}
