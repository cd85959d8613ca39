-- A user's configuration for the end-to-end tests.
vim.o.swapfile = false
vim.opt.runtimepath:prepend(vim.env.EDITOR_TEST_PLUGIN)
local options = vim.json.decode(vim.env.EDITOR_TEST_OPTIONS)
if vim.env.EDITOR_TEST_SCRIPTED then
  vim.lsp.config('diffcoder', { cmd = dofile(vim.env.EDITOR_TEST_SCRIPTED), filetypes = { 'rust', 'python', 'text' } })
else
  options.cmd = { vim.env.EDITOR_TEST_SERVER }
end
require('diffcoder').setup(options)
