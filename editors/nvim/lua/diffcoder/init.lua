--- diffcoder for Neovim. See `:help diffcoder`.

local M = {}

--- Sets options and enables the server. Optional: `vim.lsp.enable('diffcoder')` alone works with the defaults.
---@param options? table see `:help diffcoder-options`
function M.setup(options)
  local config = require('diffcoder.config')
  config.set(options)
  local overrides = { cmd = config.values.cmd, filetypes = config.values.filetypes }
  if next(overrides) then
    vim.lsp.config('diffcoder', overrides)
  end
  -- A plugin manager that only added us to 'runtimepath' has not sourced this file.
  vim.cmd.runtime('plugin/diffcoder.lua')
  vim.lsp.enable('diffcoder')
end

--- For a status line: what the server is doing for the current buffer, or nothing.
---@return string
function M.status()
  return require('diffcoder.status').text()
end

return M
