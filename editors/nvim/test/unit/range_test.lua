local t = require('harness')
local range = require('diffcoder.range')

local function at(row, col, end_row, end_col)
  return { row = row, col = col, end_row = end_row or row, end_col = end_col or col }
end

local function buffer(lines)
  vim.cmd.enew({ bang = true })
  vim.bo.bufhidden = 'wipe'
  vim.api.nvim_buf_set_lines(0, 0, -1, true, lines)
end

t.unit('ranges are sorted and each is kept once', function()
  local kept = range.disjoint({ at(3, 0), at(1, 4, 1, 6), at(1, 4), at(3, 0) })
  t.equal(kept, { at(1, 4), at(1, 4, 1, 6), at(3, 0) }, 'kept')
end)

t.unit('ranges that touch are fine, ranges that overlap are named', function()
  assert(range.disjoint({ at(0, 0, 0, 4), at(0, 4, 2, 0), at(2, 0) }))
  local kept, message = range.disjoint({ at(4, 0, 6, 0), at(5, 2, 5, 3) })
  t.equal(kept, nil, 'kept')
  t.equal(message, 'the ranges at lines 5 and 6 overlap', 'message')
end)

t.unit('an LSP range counts characters as the server does', function()
  local function line_at()
    return '🦀日x'
  end
  t.equal(
    range.to_lsp(at(2, 4, 2, 8), line_at, 'utf-16'),
    { start = { line = 2, character = 2 }, ['end'] = { line = 2, character = 4 } },
    'range'
  )
end)

t.unit('a selection of characters ends after its last character, however wide', function()
  buffer({ 'ab日', '🦀c' })
  t.equal(range.selection({ 0, 1, 2, 0 }, { 0, 1, 3, 0 }, 'v'), { at(0, 1, 0, 5) }, 'one line')
  t.equal(range.selection({ 0, 1, 3, 0 }, { 0, 2, 1, 0 }, 'v'), { at(0, 2, 1, 4) }, 'two lines')
  t.equal(range.selection({ 0, 2, 1, 0 }, { 0, 1, 3, 0 }, 'v'), { at(0, 2, 1, 4) }, 'backwards')
end)

t.unit('a selection of lines keeps indentation and the last line end', function()
  buffer({ 'fn a() {', '    b();', '', '    c();', '}' })
  t.equal(range.selection({ 0, 2, 1, 0 }, { 0, 4, 1, 0 }, 'V'), { at(1, 4, 3, 8) }, 'lines')
  t.equal(range.selection({ 0, 3, 1, 0 }, { 0, 3, 1, 0 }, 'V'), { at(2, 0) }, 'an empty line')
end)

t.unit('a block gives a range for each line', function()
  buffer({ 'let a = 1;', 'let b = 2;', 'x' })
  t.equal(range.selection({ 0, 1, 9, 0 }, { 0, 2, 9, 0 }, '\22'), { at(0, 8, 0, 9), at(1, 8, 1, 9) }, 'two lines')
end)

t.unit('marks move with the text', function()
  buffer({ 'one two', 'three' })
  range.mark(0, at(0, 4, 0, 7))
  range.mark(0, at(1, 5))
  vim.api.nvim_buf_set_lines(0, 0, 0, true, { 'new' })
  t.equal(range.marked(0), { at(1, 4, 1, 7), at(2, 5) }, 'marks')
  range.clear_marks(0)
  t.equal(range.marked(0), {}, 'marks')
end)
