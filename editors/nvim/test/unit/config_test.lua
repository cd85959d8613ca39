local t = require('harness')
local config = require('diffcoder.config')

t.unit('the defaults are valid', function()
  t.equal(config.problems(config.defaults()), {}, 'problems')
end)

t.unit('a misspelt option is named with the ones there are', function()
  local problems = config.problems({ sugestion = {} })
  t.equal(#problems, 1, 'number of problems')
  assert(problems[1]:find('sugestion is no option; there are cmd, filetypes', 1, true), problems[1])
end)

t.unit('a wrong value is named with its path and what it must be', function()
  t.equal(config.problems({ infill = { alternatives = 9 }, suggestion = { engine = 'own' } }), {
    'infill.alternatives must be a whole number from 1 to 8, not 9',
    'suggestion.engine must be one of auto, core, plugin, not "own"',
  }, 'problems')
  t.equal(config.problems({ infill = true }), { 'infill must be a table, not true' }, 'problems')
end)

t.unit('an option set keeps the others, and setting again starts from the defaults', function()
  config.set({ suggestion = { keys = { accept = '<C-l>', next = false } } })
  t.equal(config.values.suggestion.keys.accept, '<C-l>', 'accept')
  t.equal(config.values.suggestion.keys.next, false, 'next')
  t.equal(config.values.suggestion.keys.accept_word, '<M-Right>', 'accept_word')
  config.set({})
  t.equal(config.values, config.defaults(), 'values')
end)

t.unit('a bad option leaves the ones in force alone', function()
  config.set({ restarts = 7 })
  local ok, message = pcall(config.set, { restarts = -1 })
  t.equal(ok, false, 'accepted')
  t.equal(message, 'diffcoder: restarts must be a whole number, at least 0, not -1', 'message')
  t.equal(config.values.restarts, 7, 'restarts')
  config.set()
end)
