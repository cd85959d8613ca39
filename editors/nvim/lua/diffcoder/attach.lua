--- What happens when a server of ours is attached to a buffer.

local client_of = require('diffcoder.client')
local config = require('diffcoder.config')
local keymap = require('diffcoder.keymap')
local suggestion = require('diffcoder.suggestion')

local M = {}

local actions = {
  { 'accept', 'accept the suggestion' },
  { 'accept_word', 'accept a word of the suggestion' },
  { 'accept_line', 'accept a line of the suggestion' },
  { 'next', 'next suggestion' },
  { 'previous', 'previous suggestion' },
  { 'dismiss', 'dismiss the suggestion' },
}

---@param client vim.lsp.Client
---@param buf integer
function M.attached(client, buf)
  client_of.attached(client, buf)
  if not config.values.suggestion.enabled then
    return
  end
  suggestion.enable(buf, true)
  for _, action in ipairs(actions) do
    local name, what = action[1], action[2]
    keymap.insert(buf, config.values.suggestion.keys[name], suggestion[name], 'diffcoder: ' .. what)
  end
end

return M
