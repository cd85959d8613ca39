local t = require('harness')
local heat = require('diffcoder.heat')

t.unit('the less likely, the hotter', function()
  local levels = vim.iter({ 1, 0.3, 0.19, 0.049, 0.009, 0.0009, 0 }):map(heat.level):totable()
  t.equal(levels, { 0, 0, 1, 2, 3, 4, 4 }, 'levels')
end)

t.unit('probabilities are for people', function()
  t.equal(heat.percent(0.456), '46 %', 'whole')
  t.equal(heat.percent(0.0012), '0.1 %', 'a tenth')
  t.equal(heat.percent(0.0001), '< 0.1 %', 'less')
end)

t.unit('every row is in one piece, the visible ones first', function()
  t.equal(heat.pieces(3, 250, 100, 120), { { 83, 162 }, { 3, 82 }, { 163, 242 }, { 243, 250 } }, 'pieces')
  t.equal(heat.pieces(5, 5, 0, 10), { { 5, 5 } }, 'a line')
end)

t.unit('tokens are read in the encoding of the server, with other texts as alternatives', function()
  local lines = { [0] = '🦀日x', [1] = 'y' }
  local function token(line, from, end_line, to, alternatives)
    return {
      range = { start = { line = line, character = from }, ['end'] = { line = end_line, character = to } },
      logProbability = math.log(0.5),
      alternatives = alternatives,
    }
  end
  local read = heat.read({
    token(
      0,
      0,
      0,
      2,
      { { text = 'b', probability = 0.1 }, { text = '🦀', probability = 0.5 }, { text = 'c', probability = 0.2 } }
    ),
    token(0, 2, 0, 2),
    token(0, 3, 1, 0),
  }, function(row)
    return lines[row]
  end, 'utf-16')
  t.equal(#read, 2, 'tokens')
  t.equal(read[1].range, { row = 0, col = 0, end_row = 0, end_col = 4 }, 'range')
  t.equal(read[1].text, '🦀', 'text')
  t.equal(
    vim.tbl_map(function(other)
      return other.text
    end, read[1].alternatives),
    { 'c', 'b' },
    'alternatives'
  )
  t.equal(read[2].text, 'x\n', 'text over a line end')
end)
