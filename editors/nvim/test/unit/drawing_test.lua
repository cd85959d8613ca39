local t = require('harness')
local ghost = require('diffcoder.ghost')
local preview = require('diffcoder.preview')

t.unit("a frame's cells become tokens, unsure tokens and masks", function()
  local cells = { { text = 'a(', confidence = 0.9 }, vim.NIL, vim.NIL, { text = ');\n', confidence = 0.2 } }
  t.equal(preview.cell_chunks(cells), {
    { 'a(', 'DiffcoderToken' },
    { '░░', 'DiffcoderMask' },
    { ');\n', 'DiffcoderTokenUnsure' },
  }, 'chunks')
end)

t.unit('a long run of masks is cut short', function()
  local cells = {}
  for i = 1, 300 do
    cells[i] = vim.NIL
  end
  t.equal(preview.cell_chunks(cells), { { ('░'):rep(12) .. '…', 'DiffcoderMask' } }, 'chunks')
end)

t.unit('the rest of a suggestion shrinks as it is typed, and goes when other text is', function()
  local item = { text = 'push(1);\n}', row = 3, col = 2, after = ')' }
  t.equal(ghost.rest_of(item, 3, 2, 'a.)'), 'push(1);\n}', 'nothing typed')
  t.equal(ghost.rest_of(item, 3, 4, 'a.pu)'), 'sh(1);\n}', 'typed along')
  t.equal(ghost.rest_of(item, 3, 4, 'a.po)'), nil, 'typed otherwise')
  t.equal(ghost.rest_of(item, 3, 2, 'a.]'), nil, 'text right of it changed')
  t.equal(ghost.rest_of(item, 4, 2, 'a.)'), nil, 'another line')
  t.equal(ghost.rest_of(item, 3, 1, 'a.)'), nil, 'left of it')
end)

t.unit('an item is read in the encoding of the server', function()
  local line = '🦀日(x)'
  local item = {
    insertText = 'x, y)\r\n',
    range = { start = { line = 0, character = 4 }, ['end'] = { line = 0, character = 6 } },
  }
  t.equal(ghost.read_item(item, 0, 9, line, 'utf-16'), {
    text = 'x, y)\n',
    row = 0,
    col = 8,
    after = ')',
    n_replaced = 1,
  }, 'item')
end)

t.unit('an item for another place is dropped', function()
  local function item(line, from, to)
    return {
      insertText = 'x',
      range = { start = { line = line, character = from }, ['end'] = { line = line, character = to } },
    }
  end
  t.equal(ghost.read_item(item(1, 0, 0), 0, 0, 'abc', 'utf-8'), nil, 'another line')
  t.equal(ghost.read_item(item(0, 2, 2), 0, 1, 'abc', 'utf-8'), nil, 'right of the cursor')
  t.equal(ghost.read_item(item(0, 0, 1), 0, 2, 'abc', 'utf-8'), nil, 'left of the cursor')
end)
