--- `:Diffcoder`, and the actions that its subcommands share with the `<Plug>` mappings.

local action = require('diffcoder.action')
local client_of = require('diffcoder.client')
local heat = require('diffcoder.heat')
local infill = require('diffcoder.infill')
local range_of = require('diffcoder.range')
local suggestion = require('diffcoder.suggestion')

local M = {}

--- The selection of visual mode, which ends with it; or the cursor.
---@return diffcoder.Range[] ranges
---@return boolean selected
local function here()
  local ranges = range_of.end_selection()
  if ranges then
    return ranges, true
  end
  ranges = { range_of.cursor() }
  if vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
    vim.cmd.stopinsert()
  end
  return ranges, false
end

--- The marked ranges and, in visual mode, the selection; without either, the cursor.
---@param selection? diffcoder.Range[]
---@return diffcoder.Range[]
local function marked_or_here(selection)
  local ranges, selected = selection, selection ~= nil
  if not ranges then
    ranges, selected = here()
  end
  local marked = range_of.marked(0)
  if #marked == 0 then
    return ranges
  end
  return selected and vim.list_extend(marked, ranges) or marked
end

--- Fills the marked ranges and, in visual mode, the selection; without either, the cursor.
---@param selection? diffcoder.Range[]
function M.infill(selection)
  infill.start(vim.api.nvim_get_current_buf(), marked_or_here(selection))
end

--- The same with several results.
---@param selection? diffcoder.Range[]
function M.alternatives(selection)
  action.alternatives(marked_or_here(selection))
end

--- Calls `act` with the selection of visual mode, or with none.
---@param act fun(selection?: diffcoder.Range[])
---@return fun()
local function on_selection(act)
  return function()
    local ranges, selected = here()
    act(selected and ranges or nil)
  end
end

M.rewrite = on_selection(action.rewrite)
M.repair = on_selection(action.repair)
M.fill = on_selection(action.fill_all)
M.doc = on_selection(action.doc_comment)
M.heat = on_selection(heat.toggle)

--- Marks the selection, or the cursor, as a range to fill later.
---@param selection? diffcoder.Range[]
function M.mark(selection)
  local buf = vim.api.nvim_get_current_buf()
  for _, range in ipairs(selection or (here())) do
    range_of.mark(buf, range)
  end
end

function M.clear()
  range_of.clear_marks(0)
end

--- Switches suggestions in the current buffer.
---@param how? 'on'|'off'|'toggle'
function M.suggestions(how)
  local buf = vim.api.nvim_get_current_buf()
  if how == nil or how == 'toggle' then
    how = suggestion.is_enabled(buf) and 'off' or 'on'
  elseif how ~= 'on' and how ~= 'off' then
    client_of.notify(('suggestions are "on", "off" or "toggle", not "%s"'):format(how), vim.log.levels.ERROR)
    return
  end
  suggestion.enable(buf, how == 'on')
end

---@type table<string, fun(argument?: string, selection?: diffcoder.Range[])>
local subcommands = {
  infill = function(_, selection)
    M.infill(selection)
  end,
  mark = function(_, selection)
    M.mark(selection)
  end,
  clear = M.clear,
  accept = infill.accept,
  reject = infill.reject,
  next = infill.next,
  previous = infill.previous,
  rewrite = function(instruction, selection)
    action.rewrite(selection, instruction)
  end,
  repair = function(_, selection)
    action.repair(selection)
  end,
  fill = function(_, selection)
    action.fill_all(selection)
  end,
  doc = function(_, selection)
    action.doc_comment(selection)
  end,
  alternatives = function(_, selection)
    M.alternatives(selection)
  end,
  heat = function(_, selection)
    heat.toggle(selection)
  end,
  unload = function()
    client_of.set_loaded(false)
  end,
  reload = function()
    client_of.set_loaded(true)
  end,
  suggestions = M.suggestions,
  restart = client_of.restart,
}

--- The characters last selected, if a command's lines are theirs; otherwise those lines.
local function range_of_command(command)
  if command.range == 0 then
    return nil
  end
  local from, to = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  if command.line1 == from[2] and command.line2 == to[2] then
    return range_of.selection(from, to, vim.fn.visualmode())
  end
  return range_of.selection({ 0, command.line1, 1, 0 }, { 0, command.line2, 1, 0 }, 'V')
end

---@param command vim.api.keyset.create_user_command.command_args
function M.run(command)
  local name = command.fargs[1]
  local argument = #command.fargs > 1 and table.concat(command.fargs, ' ', 2) or nil
  local act = subcommands[name]
  if not act then
    client_of.notify(
      ('there is no "%s"; there are %s'):format(name, table.concat(M.complete('', 'Diffcoder '), ', ')),
      vim.log.levels.ERROR
    )
    return
  end
  act(argument, range_of_command(command))
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local names = vim.tbl_keys(subcommands)
  if line:match('Diffcoder%s+suggestions%s') then
    names = { 'on', 'off', 'toggle' }
  elseif line:match('Diffcoder%s+%S+%s') then
    names = {}
  end
  table.sort(names)
  return vim
    .iter(names)
    :filter(function(name)
      return vim.startswith(name, lead)
    end)
    :totable()
end

return M
