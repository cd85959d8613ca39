--- Rewrite, repair, fill all holes, doc comment, alternatives: which ranges each of them fills, and how.

local client_of = require('diffcoder.client')
local config = require('diffcoder.config')
local infill = require('diffcoder.infill')
local range_of = require('diffcoder.range')

local M = {}

local HOLES = 'diffcoder/holes'
local ASK_REWRITE = 'diffcoder.askRewrite'
local CONTENT_MODIFIED = -32801
local REQUEST_CANCELLED = -32800
local CHANGED = 'the text changed meanwhile; nothing was filled'

--- Results that `alternatives` asks for, unless the option asks for more.
local ALTERNATIVES = 4

local nothing = {
  fillAll = 'there is no hole here: no todo!(), no empty body, no TODO line',
  repair = 'there is nothing to repair here: the model finds no part unlikely',
  docComment = 'there is no item here that could have a doc comment',
}

--- Diagnostics of `buf` in rows of `range`, as the protocol has them.
---@param buf integer
---@param range diffcoder.Range
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return table[]
local function diagnostics_in(buf, range, encoding)
  local line_at = range_of.lines_of(buf)
  return vim
    .iter(vim.diagnostic.get(buf))
    :filter(function(each)
      return each.lnum <= range.end_row and (each.end_lnum or each.lnum) >= range.row
    end)
    :map(function(each)
      local place = {
        row = each.lnum,
        col = each.col,
        end_row = each.end_lnum or each.lnum,
        end_col = each.end_col or each.col,
      }
      return {
        range = range_of.to_lsp(place, line_at, encoding),
        severity = each.severity,
        message = each.message,
        source = each.source,
        code = each.code,
      }
    end)
    :totable()
end

--- Whether the text is another one than it was at `tick`, or gone.
---@param buf integer
---@param tick integer
local function has_changed(buf, tick)
  return not vim.api.nvim_buf_is_valid(buf) or vim.api.nvim_buf_get_changedtick(buf) ~= tick
end

--- Asks the server for the holes of `kind`, then fills them.
---@param kind 'fillAll'|'repair'|'docComment'
---@param range? diffcoder.Range
---@param wish? diffcoder.Wish
local function fill_holes(kind, range, wish)
  local buf = vim.api.nvim_get_current_buf()
  local client, reason = client_of.for_ability(buf, 'holes')
  if not client then
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  local encoding, line_at = client.offset_encoding, range_of.lines_of(buf)
  local tick = vim.api.nvim_buf_get_changedtick(buf)
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    kind = kind,
    range = range and range_of.to_lsp(range, line_at, encoding) or nil,
    diagnostics = kind == 'repair' and range and diagnostics_in(buf, range, encoding) or nil,
  }
  client:request(HOLES, params, function(err, result)
    if err or not result then
      if err and err.code == CONTENT_MODIFIED then
        client_of.notify(CHANGED)
      elseif err and err.code ~= REQUEST_CANCELLED then
        client_of.notify(err.message, vim.log.levels.ERROR)
      end
      return
    end
    if has_changed(buf, tick) then
      client_of.notify(CHANGED)
      return
    end
    if #result.holes == 0 then
      client_of.notify(nothing[kind])
      return
    end
    local ranges = vim
      .iter(result.holes)
      :map(function(hole)
        return range_of.from_lsp(hole.range, line_at, encoding)
      end)
      :totable()
    infill.start(buf, ranges, wish)
  end, buf)
end

--- The line of the cursor, without its indentation.
---@return diffcoder.Range
local function line()
  local row = vim.api.nvim_win_get_cursor(0)[1]
  return range_of.selection({ 0, row, 1, 0 }, { 0, row, 1, 0 }, 'V')[1]
end

--- From the first of several ranges to the last.
---@param ranges diffcoder.Range[]
---@return diffcoder.Range
local function hull(ranges)
  local first, last = ranges[1], ranges[#ranges]
  return { row = first.row, col = first.col, end_row = last.end_row, end_col = last.end_col }
end

--- Stubs in the selection, or in the whole buffer.
---@param selection? diffcoder.Range[]
function M.fill_all(selection)
  fill_holes('fillAll', selection and hull(selection))
end

--- The least likely parts of the selection, or of the line, and those with an error.
---@param selection? diffcoder.Range[]
function M.repair(selection)
  fill_holes('repair', selection and hull(selection) or line(), { avoid_draft = true })
end

--- A doc comment for what is at the cursor.
---@param selection? diffcoder.Range[]
function M.doc_comment(selection)
  fill_holes('docComment', selection and hull(selection) or range_of.cursor(), { kind = 'docComment' })
end

---@param buf integer
---@param ranges diffcoder.Range[]
---@param instruction string
local function rewrite(buf, ranges, instruction)
  if vim.trim(instruction) ~= '' then
    infill.start(buf, ranges, { instruction = vim.trim(instruction) })
  end
end

---@param buf integer
---@param ranges diffcoder.Range[]
local function ask_and_rewrite(buf, ranges)
  local tick = vim.api.nvim_buf_get_changedtick(buf)
  -- Neovim's own box keeps the earlier ones: <Up> brings them back. Others let the user go on typing in the text.
  vim.ui.input({ prompt = 'Rewrite: ' }, function(instruction)
    if not instruction then
      return
    end
    if has_changed(buf, tick) then
      client_of.notify(CHANGED)
      return
    end
    rewrite(buf, ranges, instruction)
  end)
end

--- Rewrites the marked ranges and the selection; without either, the line. Asks for the instruction if there is none.
---@param selection? diffcoder.Range[]
---@param instruction? string
function M.rewrite(selection, instruction)
  local buf = vim.api.nvim_get_current_buf()
  local client, reason = client_of.for_ability(buf, 'rewrite')
  if not client then
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  local ranges = vim.list_extend(range_of.marked(buf), selection or {})
  if #ranges == 0 then
    ranges = { line() }
  end
  if instruction then
    rewrite(buf, ranges, instruction)
  else
    ask_and_rewrite(buf, ranges)
  end
end

--- Carries out the server's code action, whose command holds no instruction.
---@param order { uri: string, version?: integer, range: lsp.Range }
local function ask_rewrite(order)
  local buf = vim.uri_to_bufnr(order.uri)
  local client, reason = client_of.for_ability(buf, 'rewrite')
  if not client then
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  if vim.fn.bufwinid(buf) == -1 then
    client_of.notify('the buffer to rewrite is not shown; nothing was filled')
    return
  end
  if order.version and order.version ~= vim.lsp.util.buf_versions[buf] then
    client_of.notify(CHANGED)
    return
  end
  range_of.end_selection()
  ask_and_rewrite(buf, { range_of.from_lsp(order.range, range_of.lines_of(buf), client.offset_encoding) })
end

--- Makes Neovim pass us the command of the server's code action, whatever the client is called.
function M.listen()
  vim.lsp.commands[ASK_REWRITE] = function(command)
    ask_rewrite(command.arguments[1])
  end
end

--- Several results for the marked ranges and the selection; without either, for the cursor.
---@param ranges diffcoder.Range[]
function M.alternatives(ranges)
  local most = math.max(ALTERNATIVES, config.values.infill.alternatives)
  infill.start(vim.api.nvim_get_current_buf(), ranges, { alternatives = most })
end

return M
