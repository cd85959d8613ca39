local t = require('harness')
local fixtures = require('fixtures')

local keys = [[
  vim.keymap.set({ 'n', 'x' }, 'gh', '<Plug>(diffcoder-heat)')
  vim.keymap.set('n', ']h', '<Plug>(diffcoder-heat-next)')
  vim.keymap.set('n', '[h', '<Plug>(diffcoder-heat-previous)')
  vim.keymap.set('n', 'gc', '<Plug>(diffcoder-heat-choose)')
  -- The choice of a user, by its number in `vim.g.pick`.
  vim.ui.select = function(items, options, on_choice)
    vim.g.prompt = options.prompt
    vim.g.items = vim.tbl_map(options.format_item, items)
    on_choice(items[vim.g.pick or 1])
  end]]

local quiet = { options = { suggestion = { enabled = false } } }

--- Rows and columns of what is highlighted, with its group.
local function highlights(child)
  return child:lua([[
    local namespace = vim.api.nvim_get_namespaces()['diffcoder.heat']
    return vim.iter(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })):map(function(mark)
      return { mark[2], mark[3], mark[4].end_col, mark[4].hl_group }
    end):totable()]])
end

local function wait_until_done(child)
  t.wait('the heat map', function()
    return child:lua([[return require('diffcoder.heat').state(vim.api.nvim_get_current_buf())]]) == 'ready'
  end, 60000)
end

local function wait_until_gone(child)
  t.wait('no heat map', function()
    return child:lua([[return require('diffcoder.heat').state(vim.api.nvim_get_current_buf())]]) == vim.NIL
  end)
  t.equal(highlights(child), {}, 'highlights')
end

t.test('the heat map highlights a buffer and goes again', quiet, function(child)
  child:lua(keys)
  child:open(fixtures.budget())
  child:type('gh')
  wait_until_done(child)
  local groups = {}
  for _, highlight in ipairs(highlights(child)) do
    groups[highlight[4]] = (groups[highlight[4]] or 0) + 1
  end
  assert(groups.DiffcoderHeat1 and groups.DiffcoderHeat4, 'groups: ' .. vim.inspect(groups))
  t.wait('their number', function()
    return child:screen():find('%d+ surprising tokens')
  end)
  child:type('gh')
  wait_until_gone(child)
end)

t.test('the keys go round the surprising tokens, and a choice replaces one', quiet, function(child)
  child:lua(keys)
  local before = fixtures.budget()
  child:open(before)
  child:type('gh')
  wait_until_done(child)
  child:type('gg0]h')
  local first = t.wait('the cursor moved', function()
    local cursor = child:api('nvim_win_get_cursor', 0)
    return (cursor[1] > 1 or cursor[2] > 0) and cursor or nil
  end)
  child:type(']h[h')
  t.equal(child:api('nvim_win_get_cursor', 0), first, 'next and previous')
  child:type('gc')
  t.wait('a token is replaced', function()
    return not vim.deep_equal(child:lines(), before)
  end)
  assert(child:lua([[return vim.g.prompt]]):find('%%'), 'the prompt has no likelihood')
  -- Scored anew after the change.
  wait_until_done(child)
  child:assert_in_step()
  child:type('u')
  t.wait('undone', function()
    return vim.deep_equal(child:lines(), before)
  end)
end)

t.test('a selection alone is highlighted, and stays so when lines come before it', quiet, function(child)
  child:lua(keys)
  child:open(fixtures.budget())
  child:type('31GVjgh')
  wait_until_done(child)
  local function rows()
    return vim
      .iter(highlights(child))
      :map(function(highlight)
        return highlight[1]
      end)
      :totable()
  end
  for _, row in ipairs(rows()) do
    assert(row == 30 or row == 31, 'row ' .. row)
  end
  child:type('ggO// x<Esc>')
  t.wait('scored anew', function()
    return child:lua([[return require('diffcoder.heat').state(vim.api.nvim_get_current_buf())]]) == 'ready'
      and #rows() > 0
      and vim.iter(rows()):all(function(row)
        return row == 31 or row == 32
      end)
  end)
end)

--- A server that finds every second character of each line unlikely.
local scripted = [[
  _G.script['diffcoder/score'] = function(params)
    local tokens = {}
    for row = params.range.start.line, params.range['end'].line do
      for column, probability in ipairs({ 0.5, 0.0005 }) do
        tokens[#tokens + 1] = {
          range = {
            start = { line = row, character = 2 * column - 2 },
            ['end'] = { line = row, character = 2 * column },
          },
          logProbability = math.log(probability),
          alternatives = { { text = 'YY', probability = 0.3 }, { text = 'a\nb', probability = 0.4 } },
        }
      end
    end
    _G.n_scores = (_G.n_scores or 0) + 1
    return { version = params.textDocument.version, tokens = tokens }
  end]]

t.test('wide characters are highlighted whole, and lines can be put in', {
  scripted = true,
  options = { suggestion = { enabled = false } },
}, function(child)
  child:lua(keys .. '\n' .. scripted)
  child:open({ '🦀xx日' }, 'a.txt')
  child:type('gh')
  wait_until_done(child)
  t.equal(highlights(child), { { 0, 4, 6, 'DiffcoderHeat4' } }, 'highlights')
  child:type('0lgc')
  t.wait('two lines', function()
    return vim.deep_equal(child:lines(), { '🦀a', 'b日' })
  end)
  t.equal(child:lua([[return vim.g.items]]), { '"a\\nb"  40 %', '"YY"  30 %' }, 'items')
end)

t.test('an error ends the heat map with a sentence', {
  scripted = true,
  options = { suggestion = { enabled = false } },
}, function(child)
  child:lua(
    keys
      .. '\n'
      .. [[_G.script['diffcoder/score'] = function() return nil, { code = -32803, message = 'Too hot.' } end]]
  )
  child:open({ 'abc' }, 'a.txt')
  child:type('gh')
  child:wait_for_message('Too hot%.')
  wait_until_gone(child)
end)

t.test('an older server shows no heat map and says why', {
  scripted = true,
  options = { suggestion = { enabled = false } },
  env = { EDITOR_TEST_OLD = '1' },
}, function(child)
  child:lua(keys)
  child:open({ 'abc' }, 'a.txt')
  child:type('gh')
  child:wait_for_message('this server is too old to show a heat map')
end)
