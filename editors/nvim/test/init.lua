-- A user's configuration for the end-to-end tests.
vim.o.swapfile = false
vim.opt.runtimepath:prepend(vim.env.DIFFCODER_PLUGIN)
local options = vim.json.decode(vim.env.DIFFCODER_OPTIONS)
if vim.env.DIFFCODER_SCRIPTED then
  vim.lsp.config('diffcoder', { cmd = dofile(vim.env.DIFFCODER_SCRIPTED), filetypes = { 'rust', 'python', 'text' } })
else
  options.cmd = { vim.env.DIFFCODER_SERVER }
end
require('diffcoder').setup(options)
