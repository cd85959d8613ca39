--- Ghost text of our own: suggestions as extmarks, for Neovim without `vim.lsp.inline_completion`.
---
--- Unlike the core's, it cancels a request that typing has overtaken, keeps a suggestion while the user types along
--- with it, and can take a part of it.

local client_of = require('diffcoder.client')
local config = require('diffcoder.config')
local text = require('diffcoder.text')

local M = {}

local namespace = vim.api.nvim_create_namespace('diffcoder.ghost')
local method = 'textDocument/inlineCompletion'

---@class diffcoder.Suggestion
---@field text string what is to stand between `col` and the text it replaces
---@field row integer
---@field col integer bytes; where `text` begins
---@field after string the line's text right of the cursor when the suggestion was made
---@field n_replaced integer bytes of `after` that the suggestion replaces
---@field command? lsp.Command

---@class diffcoder.Ghost
---@field timer uv.uv_timer_t
---@field augroup integer
---@field request? { client: vim.lsp.Client, id: integer }
---@field items diffcoder.Suggestion[]
---@field index integer
---@type table<integer, diffcoder.Ghost>
local ghosts = {}

---@return integer row
---@return integer col
local function cursor()
  local position = vim.api.nvim_win_get_cursor(0)
  return position[1] - 1, position[2]
end

--- What is left of `item` at the cursor, or nothing if the cursor has left it or other text was typed.
---@param item diffcoder.Suggestion
---@param row integer
---@param col integer
---@param line string
---@return string?
function M.rest_of(item, row, col, line)
  if row ~= item.row or col < item.col or line:sub(col + 1) ~= item.after then
    return nil
  end
  local typed = line:sub(item.col + 1, col)
  if #typed >= #item.text or not vim.startswith(item.text, typed) then
    return nil
  end
  return item.text:sub(#typed + 1)
end

--- Reads one item of the server's answer, made for the cursor at `row` and `col` of `line`.
---@return diffcoder.Suggestion?
function M.read_item(item, row, col, line, encoding)
  local insert = item.insertText
  local body = text.with_buffer_line_ends(type(insert) == 'table' and insert.value or insert)
  local first, last = col, col
  if item.range then
    local range = item.range
    if range.start.line ~= row or range['end'].line ~= row then
      return nil
    end
    first = vim.str_byteindex(line, encoding, range.start.character, false)
    last = vim.str_byteindex(line, encoding, range['end'].character, false)
  end
  if first > col or last < col then
    return nil
  end
  return {
    text = body,
    row = row,
    col = first,
    after = line:sub(col + 1),
    n_replaced = last - col,
    command = item.command,
  }
end

---@param buf integer
---@return string? rest
---@return diffcoder.Suggestion? item
local function current(buf)
  local ghost = ghosts[buf]
  local item = ghost and ghost.items[ghost.index]
  if not item or buf ~= vim.api.nvim_get_current_buf() then
    return nil
  end
  local row, col = cursor()
  local rest = M.rest_of(item, row, col, vim.api.nvim_get_current_line())
  return rest, rest and item
end

local function hide(buf)
  vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
end

---@param buf integer
---@return boolean shown
local function draw(buf)
  hide(buf)
  local rest, item = current(buf)
  if not rest or not item then
    return false
  end
  local ghost = ghosts[buf]
  local row, col = cursor()
  local shown = text.without_replaced(rest, item.after:sub(1, item.n_replaced))
  local chunks = { { shown, 'DiffcoderSuggestion' } }
  if #ghost.items > 1 then
    chunks[#chunks + 1] = { (' (%d/%d)'):format(ghost.index, #ghost.items), 'DiffcoderHint' }
  end
  local lines = text.chunk_lines(chunks, vim.fn.virtcol('.') - 1, vim.bo[buf].tabstop)
  vim.api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = lines[1],
    virt_text_pos = 'inline',
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    hl_mode = 'combine',
  })
  return true
end

local function cancel_request(ghost)
  local request = ghost.request
  ghost.request = nil
  if request and not request.client:is_stopped() then
    request.client:cancel_request(request.id)
  end
end

local function forget(buf)
  local ghost = ghosts[buf]
  ghost.timer:stop()
  cancel_request(ghost)
  ghost.items, ghost.index = {}, 1
  hide(buf)
end

---@param buf integer
local function request(buf)
  local ghost, client = ghosts[buf], client_of.for_suggestions(buf)
  local inserting = vim.api.nvim_get_mode().mode:sub(1, 1) == 'i'
  if not ghost or not client or not inserting or buf ~= vim.api.nvim_get_current_buf() then
    return
  end
  local row, col = cursor()
  local line, tick = vim.api.nvim_get_current_line(), vim.api.nvim_buf_get_changedtick(buf)
  local encoding = client.offset_encoding
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(buf) },
    position = { line = row, character = text.character(line, col, encoding) },
    context = { triggerKind = 2 },
  }
  local sent, id
  sent, id = client:request(method, params, function(err, result)
    if ghosts[buf] ~= ghost or not ghost.request or ghost.request.id ~= id then
      return
    end
    ghost.request = nil
    if err or not result or vim.api.nvim_buf_get_changedtick(buf) ~= tick then
      return
    end
    ghost.items, ghost.index = {}, 1
    for _, item in ipairs(result.items or result) do
      ghost.items[#ghost.items + 1] = M.read_item(item, row, col, line, encoding)
    end
    draw(buf)
  end, buf)
  ghost.request = sent and { client = client, id = id } or nil
end

--- The cursor moved or text was typed: go on showing what still fits, or ask anew.
---@param buf integer
local function moved(buf)
  local ghost = ghosts[buf]
  if draw(buf) then
    return
  end
  forget(buf)
  ghost.timer:start(
    config.values.suggestion.debounce_ms,
    0,
    vim.schedule_wrap(function()
      request(buf)
    end)
  )
end

---@param buf integer
local function watch(buf)
  local augroup = vim.api.nvim_create_augroup('diffcoder.ghost.' .. buf, {})
  ghosts[buf] = { timer = assert(vim.uv.new_timer()), augroup = augroup, items = {}, index = 1 }
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, {
      group = augroup,
      buffer = buf,
      callback = function()
        callback(buf)
      end,
    })
  end
  on({ 'InsertEnter', 'CursorMovedI', 'TextChangedP' }, moved)
  on({ 'InsertLeave', 'BufLeave' }, forget)
  on({ 'BufUnload' }, M.disable)
end

---@param buf integer
function M.enable(buf)
  if not ghosts[buf] then
    watch(buf)
  end
  -- The server may come up, or come up again, while the user types already.
  if buf == vim.api.nvim_get_current_buf() and vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
    moved(buf)
  end
end

---@param buf integer
function M.disable(buf)
  local ghost = ghosts[buf]
  if not ghost then
    return
  end
  forget(buf)
  ghosts[buf] = nil
  ghost.timer:close()
  vim.api.nvim_del_augroup_by_id(ghost.augroup)
end

---@param buf integer
function M.is_enabled(buf)
  return ghosts[buf] ~= nil
end

--- Puts a part of the suggestion, or all of it, at the cursor.
---@param take? fun(rest: string): string the part; everything without it
---@return boolean accepted whether there is a suggestion; it goes in as soon as text may be changed
function M.accept(take)
  local buf = vim.api.nvim_get_current_buf()
  if not current(buf) then
    return false
  end
  vim.schedule(function()
    local rest, item = current(buf)
    if not rest or not item then
      return
    end
    local piece = take and take(rest) or rest
    local whole = piece == rest
    local row, col = cursor()
    local lines = vim.split(piece, '\n', { plain = true })
    local n_replaced = whole and item.n_replaced or 0
    vim.api.nvim_buf_set_text(buf, row, col, row, col + n_replaced, lines)
    row, col = row + #lines - 1, (#lines == 1 and col or 0) + #lines[#lines]
    vim.api.nvim_win_set_cursor(0, { row + 1, col })
    local client = client_of.for_suggestions(buf)
    if not whole then
      item.text, item.row, item.col = rest:sub(#piece + 1), row, col
      draw(buf)
      return
    end
    forget(buf)
    if item.command and client then
      client:exec_cmd(item.command, { bufnr = buf })
    end
  end)
  return true
end

--- Shows another suggestion, `step` further on.
---@param step integer
---@return boolean
function M.select(step)
  local buf = vim.api.nvim_get_current_buf()
  local ghost = ghosts[buf]
  if not current(buf) then
    return false
  end
  ghost.index = (ghost.index - 1 + step) % #ghost.items + 1
  vim.schedule(function()
    draw(buf)
  end)
  return true
end

--- Hides the suggestion until the cursor moves.
---@return boolean
function M.dismiss()
  local buf = vim.api.nvim_get_current_buf()
  if not current(buf) then
    return false
  end
  vim.schedule(function()
    forget(buf)
  end)
  return true
end

return M
