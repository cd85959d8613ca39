--- Tells the server what the user yanks: the lines around it may matter to the model where they go next.

local client_of = require('diffcoder.client')
local range_of = require('diffcoder.range')

local M = {}

local SEEN = 'diffcoder/seen'

--- The lines between the marks of the last yank. A block's marks say nothing of the columns in between.
---@param buf integer
---@param line_at fun(row: integer): string
---@return diffcoder.Range
local function yanked(buf, line_at)
  local first = vim.api.nvim_buf_get_mark(buf, '[')[1] - 1
  local last = vim.api.nvim_buf_get_mark(buf, ']')[1] - 1
  return { row = first, col = 0, end_row = last, end_col = #line_at(last) }
end

---@param buf integer
local function tell(buf)
  for _, client in ipairs(vim.lsp.get_clients({ bufnr = buf })) do
    if client_of.can(client, 'seen') == true then
      local line_at = range_of.lines_of(buf)
      client:notify(SEEN, {
        textDocument = { uri = vim.uri_from_bufnr(buf) },
        range = range_of.to_lsp(yanked(buf, line_at), line_at, client.offset_encoding),
      })
    end
  end
end

--- Follows the yanks of buffers that such a server serves.
---@param group integer
function M.listen(group)
  vim.api.nvim_create_autocmd('TextYankPost', {
    group = group,
    callback = function(event)
      if vim.v.event.operator == 'y' then
        -- Whatever is wrong with the server, a yank is none of its business.
        pcall(tell, event.buf)
      end
    end,
  })
end

return M
