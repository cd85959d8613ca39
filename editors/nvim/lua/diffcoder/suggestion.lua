--- Suggestions while typing: the same five actions over the core's inline completion and over our own ghost text.

local config = require('diffcoder.config')
local ghost = require('diffcoder.ghost')
local text = require('diffcoder.text')

local M = {}

--- The core's inline completion, in Neovim 0.12 and later.
local core = vim.lsp.inline_completion

--- The one that draws suggestions: `core` or `plugin`.
---@return 'core'|'plugin'
function M.engine()
  local wanted = config.values.suggestion.engine
  return core and wanted ~= 'plugin' and 'core' or 'plugin'
end

--- Makes the core ask at once where the user types already: it waits for the next move of the cursor otherwise.
---@param buf integer
local function ask_now(buf)
  if buf == vim.api.nvim_get_current_buf() and vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
    -- The core's own; without it there is nobody to ask.
    local group = 'nvim.lsp.inline_completion:' .. buf
    pcall(vim.api.nvim_exec_autocmds, 'CursorMovedI', { group = group, buffer = buf, modeline = false })
  end
end

---@param buf integer
---@param on boolean
function M.enable(buf, on)
  if M.engine() == 'core' then
    core.enable(on, { bufnr = buf })
    if on then
      -- The core takes note of a new client in the next turn of the event loop: ask in the one after that.
      vim.schedule(vim.schedule_wrap(function()
        ask_now(buf)
      end))
    end
  elseif on then
    ghost.enable(buf)
  else
    ghost.disable(buf)
  end
end

---@param buf integer
---@return boolean
function M.is_enabled(buf)
  if M.engine() == 'core' then
    return core.is_enabled({ bufnr = buf })
  end
  return ghost.is_enabled(buf)
end

--- Inserts a part of the core's suggestion; the core itself only knows how to insert all of it.
---@param buf integer
---@param item vim.lsp.inline_completion.Item
---@param take fun(rest: string): string
local function insert_part(buf, item, take)
  local position = vim.api.nvim_win_get_cursor(0)
  local row, col = position[1] - 1, position[2]
  local start_row, start_col = row, col
  if item.range then
    start_row, start_col = item.range:to_extmark()
  end
  local body = item.insert_text
  body = text.with_buffer_line_ends(type(body) == 'table' and body.value or body)
  local line = vim.api.nvim_get_current_line()
  local rest =
    ghost.rest_of({ text = body, row = start_row, col = start_col, after = line:sub(col + 1) }, row, col, line)
  if not rest then
    return
  end
  local lines = vim.split(take(rest), '\n', { plain = true })
  vim.api.nvim_buf_set_text(buf, row, col, row, col, lines)
  col = (#lines == 1 and col or 0) + #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { row + #lines, col })
end

--- Accepts the suggestion, or the part that `take` cuts from it.
---@param take? fun(rest: string): string
---@return boolean accepted false if there is no suggestion
local function accept(take)
  if M.engine() ~= 'core' then
    return ghost.accept(take)
  end
  local buf = vim.api.nvim_get_current_buf()
  return core.get({
    on_accept = function(item)
      if take then
        insert_part(buf, item, take)
        return nil
      end
      -- The core would put the carriage returns of a DOS file into the buffer.
      if type(item.insert_text) == 'string' then
        item.insert_text = text.with_buffer_line_ends(item.insert_text)
      end
      return item
    end,
  })
end

---@return boolean
function M.accept()
  return accept()
end

---@return boolean
function M.accept_word()
  return accept(text.word)
end

---@return boolean
function M.accept_line()
  return accept(text.line)
end

---@param step integer
---@return boolean
local function select(step)
  if M.engine() ~= 'core' then
    return ghost.select(step)
  end
  core.select({ count = step })
  return true
end

---@return boolean
function M.next()
  return select(1)
end

---@return boolean
function M.previous()
  return select(-1)
end

---@return boolean
function M.dismiss()
  if M.engine() ~= 'core' then
    return ghost.dismiss()
  end
  return core.get({
    on_accept = function()
      return nil
    end,
  })
end

return M
