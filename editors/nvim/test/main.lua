--- Runs every test in this Neovim: `nvim --clean -n -l main.lua`, as run.sh does.

local here = vim.fs.dirname(vim.fn.fnamemodify(arg[0], ':p'))
package.path = here .. '/?.lua;' .. package.path
vim.opt.runtimepath:prepend(vim.env.EDITOR_TEST_PLUGIN)

local harness = require('harness')

for _, folder in ipairs({ 'unit', 'e2e' }) do
  local files = vim.fn.glob(here .. '/' .. folder .. '/*_test.lua', false, true)
  assert(#files > 0, 'no tests in ' .. folder)
  for _, file in ipairs(files) do
    harness.suite = folder .. '/' .. vim.fs.basename(file):gsub('_test%.lua$', '')
    dofile(file)
  end
end
if (vim.env.EDITOR_TEST_IMAGES or '') ~= '' then
  harness.suite = 'pictures'
  dofile(here .. '/pictures.lua')
end
harness.finish()
