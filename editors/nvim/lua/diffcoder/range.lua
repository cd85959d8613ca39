--- Ranges of a buffer that are to be filled: from a selection, from the cursor, or marked one by one.

local text = require('diffcoder.text')

local M = {}

--- Rows and byte columns from 0; the end is not part of it. Empty means a place between two characters.
---@class diffcoder.Range
---@field row integer
---@field col integer
---@field end_row integer
---@field end_col integer

local namespace = vim.api.nvim_create_namespace('diffcoder.marks')

---@param range diffcoder.Range
---@return boolean
function M.is_empty(range)
  return range.row == range.end_row and range.col == range.end_col
end

local function before(row, col, other_row, other_col)
  return row < other_row or (row == other_row and col < other_col)
end

--- Sorted, each once; or nothing and a sentence if two of them overlap.
---@param ranges diffcoder.Range[]
---@return diffcoder.Range[]?
---@return string?
function M.disjoint(ranges)
  local sorted = vim.deepcopy(ranges)
  table.sort(sorted, function(a, b)
    if a.row == b.row and a.col == b.col then
      return before(a.end_row, a.end_col, b.end_row, b.end_col)
    end
    return before(a.row, a.col, b.row, b.col)
  end)
  local kept = {} ---@type diffcoder.Range[]
  for _, range in ipairs(sorted) do
    local last = kept[#kept]
    if last and before(range.row, range.col, last.end_row, last.end_col) then
      if not vim.deep_equal(last, range) then
        return nil, ('the ranges at lines %d and %d overlap'):format(last.row + 1, range.row + 1)
      end
    elseif not (last and vim.deep_equal(last, range)) then
      kept[#kept + 1] = range
    end
  end
  return kept
end

--- As an LSP range; `line_at(row)` gives the text of a row.
---@param range diffcoder.Range
---@param line_at fun(row: integer): string
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return lsp.Range
function M.to_lsp(range, line_at, encoding)
  local function position(row, col)
    return { line = row, character = text.character(line_at(row), col, encoding) }
  end
  return { start = position(range.row, range.col), ['end'] = position(range.end_row, range.end_col) }
end

---@param buf integer
---@return fun(row: integer): string
function M.lines_of(buf)
  return function(row)
    return vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
  end
end

--- The cursor, as an empty range.
---@return diffcoder.Range
function M.cursor()
  local position = vim.api.nvim_win_get_cursor(0)
  local row, col = position[1] - 1, position[2]
  return { row = row, col = col, end_row = row, end_col = col }
end

--- A range of the protocol.
---@param range lsp.Range
---@param line_at fun(row: integer): string
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return diffcoder.Range
function M.from_lsp(range, line_at, encoding)
  local function column(place)
    return vim.str_byteindex(line_at(place.line), encoding, place.character, false)
  end
  local first, last = range.start, range['end']
  return { row = first.line, col = column(first), end_row = last.line, end_col = column(last) }
end

---@param range diffcoder.Range
---@param row integer
---@param col integer
---@return boolean
function M.contains(range, row, col)
  return not before(row, col, range.row, range.col) and before(row, col, range.end_row, range.end_col)
end

---@param range diffcoder.Range
---@param line_at fun(row: integer): string
---@return string
function M.text(range, line_at)
  if range.row == range.end_row then
    return line_at(range.row):sub(range.col + 1, range.end_col)
  end
  local lines = { line_at(range.row):sub(range.col + 1) }
  for row = range.row + 1, range.end_row - 1 do
    lines[#lines + 1] = line_at(row)
  end
  lines[#lines + 1] = line_at(range.end_row):sub(1, range.end_col)
  return table.concat(lines, '\n')
end

--- What lies between two positions of `getpos()`. A block gives a range for each line; whole lines keep their
--- indentation and their last line end.
---@param from integer[]
---@param to integer[]
---@param mode 'v'|'V'|string
---@return diffcoder.Range[]
function M.selection(from, to, mode)
  local line_at = M.lines_of(0)
  local pieces = {} ---@type diffcoder.Range[]
  for _, piece in ipairs(vim.fn.getregionpos(from, to, { type = mode })) do
    local row = piece[1][2] - 1
    local line = line_at(row)
    local last = piece[2][3] - 1
    local end_col = 0
    if last >= 0 and #line > 0 then
      last = math.min(last, #line - 1)
      end_col = last + vim.str_utf_end(line, last + 1) + 1
    end
    local col = math.min(math.max(piece[1][3] - 1, 0), end_col)
    pieces[#pieces + 1] = { row = row, col = col, end_row = row, end_col = end_col }
  end
  if mode:sub(1, 1) == '\22' then
    return pieces
  end
  local first, last = pieces[1], pieces[#pieces]
  local range = { row = first.row, col = first.col, end_row = last.row, end_col = last.end_col }
  if mode == 'V' then
    range.col = #line_at(range.row):match('^%s*')
    range.end_col = #line_at(range.end_row)
    if range.row == range.end_row and range.col > range.end_col then
      range.col = range.end_col
    end
  end
  return { range }
end

--- The selection of visual mode, which ends with it; nothing in other modes.
---@return diffcoder.Range[]?
function M.end_selection()
  local mode = vim.api.nvim_get_mode().mode:sub(1, 1)
  if mode ~= 'v' and mode ~= 'V' and mode ~= '\22' then
    return nil
  end
  local ranges = M.selection(vim.fn.getpos('v'), vim.fn.getpos('.'), mode)
  vim.cmd.normal({ vim.keycode('<Esc>'), bang = true })
  return ranges
end

--- Remembers `range` as one of those to fill; it moves with the text.
---@param buf integer
---@param range diffcoder.Range
function M.mark(buf, range)
  local options = M.is_empty(range) and { virt_text = { { '▯', 'DiffcoderHole' } }, virt_text_pos = 'inline' }
    or { end_row = range.end_row, end_col = range.end_col, hl_group = 'DiffcoderHole' }
  vim.api.nvim_buf_set_extmark(buf, namespace, range.row, range.col, options)
end

---@param buf integer
---@return diffcoder.Range[]
function M.marked(buf)
  return vim
    .iter(vim.api.nvim_buf_get_extmarks(buf, namespace, 0, -1, { details = true }))
    :map(function(mark)
      local row, col, details = mark[2], mark[3], mark[4]
      return { row = row, col = col, end_row = details.end_row or row, end_col = details.end_col or col }
    end)
    :totable()
end

---@param buf integer
function M.clear_marks(buf)
  vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
end

return M
