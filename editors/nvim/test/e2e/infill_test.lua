local t = require('harness')
local fixtures = require('fixtures')

local function infill_state(child)
  return child:lua([[return require('diffcoder.infill').state(vim.api.nvim_get_current_buf()) or 'none']])
end

local function wait_until_ready(child)
  t.wait('the fill is ready', function()
    return infill_state(child) == 'ready'
  end, 60000)
end

local keys_of_a_user = [[
  vim.keymap.set({ 'n', 'x' }, 'gz', '<Plug>(diffcoder-infill)')
  vim.keymap.set({ 'n', 'x' }, 'gm', '<Plug>(diffcoder-mark)')]]

local short = { options = { infill = { max_tokens = 16 } } }

t.test('a selection is filled, accepted, and undone in one step', short, function(child)
  child:lua(keys_of_a_user)
  local before = fixtures.budget()
  before[49] = '        assert_eq!(budget.len(), 1);'
  child:open(before)
  child:type('49G0f1vgz')
  wait_until_ready(child)
  t.equal(child:lines(), before, 'the buffer before accepting')
  assert(child:ghost('DiffcoderToken') ~= '', 'no preview')
  child:type('<Tab>')
  t.wait('the fill is in the buffer', function()
    return infill_state(child) == 'none'
  end)
  local after = child:lines()
  assert(not vim.deep_equal(after, before), 'nothing was inserted')
  t.equal(vim.list_slice(after, 1, 48), vim.list_slice(before, 1, 48), 'the lines above')
  t.equal(after[#after], '}', 'the last line')
  assert(vim.startswith(after[49], '        assert_eq!(budget.len(), '), after[49])
  child:assert_in_step()
  t.equal(child:ghost(), '', 'virtual text')
  child:type('u')
  t.wait('undone', function()
    return vim.deep_equal(child:lines(), before)
  end)
end)

t.test('several marked ranges are filled at once and undone in one step', short, function(child)
  child:lua(keys_of_a_user)
  local before = fixtures.budget()
  before[22] = '        '
  child:open(before)
  -- Two places under the cursor and, at last, a selection.
  child:type('22G$gm')
  child:type('37Gf=wv$hgm')
  t.wait('two marks', function()
    return child:lua([[return #require('diffcoder.range').marked(0)]]) == 2
  end)
  child:type('32G^v$hgz')
  wait_until_ready(child)
  t.equal(child:lines(), before, 'the buffer before accepting')
  child:type('<Tab>')
  t.wait('the fill is in the buffer', function()
    return infill_state(child) == 'none'
  end)
  local after = child:lines()
  local changed = vim.text
    and vim.diff(table.concat(before, '\n') .. '\n', table.concat(after, '\n') .. '\n', {
      result_type = 'indices',
      ctxlen = 0,
    })
  assert(#changed >= 2, 'fewer than two places changed: ' .. vim.inspect(changed))
  t.equal(child:lua([[return #require('diffcoder.range').marked(0)]]), 0, 'marks')
  child:assert_in_step()
  child:type('u')
  t.wait('undone', function()
    return vim.deep_equal(child:lines(), before)
  end)
end)

t.test('Escape stops the server and leaves the text alone', {
  options = { infill = { max_tokens = 192, alternatives = 8, temperature = 1.0 } },
}, function(child)
  child:lua(keys_of_a_user)
  child:lua([[vim.keymap.set('n', '<Esc>', '<Cmd>let g:escaped = 1<CR>', { buffer = 0 })]])
  local before = fixtures.budget()
  child:open(before)
  local pid = child:server_pid()
  child:lua([[
    vim.api.nvim_create_autocmd('LspRequest', { callback = function(event)
      local request = event.data.request
      if request.method == 'diffcoder/infill' and request.type == 'cancel' then _G.cancelled = true end
    end })]])
  child:type('38G^v$gz')
  t.wait('frames', function()
    return child:ghost('DiffcoderToken') ~= '' or child:ghost('DiffcoderTokenUnsure') ~= ''
  end)
  local ticks = t.cpu_ticks(pid)
  t.wait('the server works', function()
    return t.cpu_ticks(pid) - ticks > 2
  end)
  t.equal(infill_state(child), 'running', 'state')
  child:type('<Esc>')
  t.wait('the fill is gone', function()
    return infill_state(child) == 'none' and child:ghost() == ''
  end)
  t.wait('the request is cancelled', function()
    return child:lua([[return _G.cancelled == true]])
  end)
  t.wait('the server is idle', function()
    local from = t.cpu_ticks(pid)
    vim.wait(300)
    return t.cpu_ticks(pid) - from <= 1
  end, 5000)
  t.equal(child:lines(), before, 'the buffer')
  child:type('ix<Esc>')
  t.wait('Escape is itself again', function()
    return child:api('nvim_get_mode').mode == 'n'
  end)
end)

t.test('frames of the server are drawn while it works', short, function(child)
  child:lua(keys_of_a_user)
  child:lua([[
    _G.masks, _G.tokens = 0, 0
    local preview = require('diffcoder.preview')
    local cell_chunks = preview.cell_chunks
    preview.cell_chunks = function(cells)
      for _, cell in ipairs(cells) do
        if type(cell) == 'table' then _G.tokens = _G.tokens + 1 else _G.masks = _G.masks + 1 end
      end
      return cell_chunks(cells)
    end]])
  local lines = fixtures.budget()
  lines[49] = '        assert_eq!(budget.len(), 1);'
  child:open(lines)
  child:type('49G0f1vgz')
  wait_until_ready(child)
  assert(child:lua([[return _G.tokens]]) > 0, 'no token was drawn')
end)

t.test('a place after characters outside ASCII', short, function(child)
  child:lua(keys_of_a_user)
  local before = fixtures.budget()
  before[49] = '        let words = ["日本語 🦀"]; assert_eq!(words.len(), 1); assert_eq!(words.len(), 2);'
  child:open(before)
  child:type('49G0f1vgm')
  child:type('f2vgz')
  wait_until_ready(child)
  child:type('<Tab>')
  t.wait('the fill is in the buffer', function()
    return infill_state(child) == 'none'
  end)
  local text = table.concat(vim.list_slice(child:lines(), 49), '\n')
  assert(vim.startswith(text, '        let words = ["日本語 🦀"]; assert_eq!(words.len(), '), text)
  assert(text:find('); assert_eq!(words.len(), ', 1, true), text)
  child:assert_in_step()
end)

t.test('a fill without preview goes in at once', {
  options = { infill = { max_tokens = 16, preview = false } },
}, function(child)
  local before = fixtures.budget()
  before[49] = '        assert_eq!(budget.len(), 1);'
  child:open(before)
  child:type('49G0f1v:Diffcoder infill<CR>')
  t.wait('the fill is in the buffer', function()
    return not vim.deep_equal(child:lines(), before)
  end)
  child:assert_in_step()
end)

t.test('a file of 20 000 lines', short, function(child)
  child:lua(keys_of_a_user)
  local before = fixtures.long(20000)
  local row = #before - 2
  before[row] = '        assert_eq!(budget.len(), 1);'
  child:open(before)
  child:type(row .. 'G0f1vgz')
  wait_until_ready(child)
  child:type('<Tab>')
  t.wait('the fill is in the buffer', function()
    return infill_state(child) == 'none'
  end)
  child:assert_in_step()
end)

t.test('a server that dies meanwhile leaves no preview', {
  options = { infill = { max_tokens = 192, alternatives = 8, temperature = 1.0 } },
}, function(child)
  child:lua(keys_of_a_user)
  child:open(fixtures.budget())
  child:type('38G^v$gz')
  t.wait('it runs', function()
    return infill_state(child) == 'running'
  end)
  vim.uv.kill(child:server_pid(), 'sigkill')
  t.wait('the preview is gone', function()
    return infill_state(child) == 'none' and child:ghost() == ''
  end)
  child:wait_for_message('is started again')
end)

--- A scripted answer: hole `i` of variant `v` gets `<v:i>`.
local numbered = [[
  _G.script['diffcoder/infill'] = function(params)
    local function variant(v)
      local holes = {}
      for i, range in ipairs(params.ranges) do
        local text = ('<%d:%d>'):format(v, i)
        holes[i] = { range = range, newText = text, confidence = 0.5, finish = 'endOfText' }
      end
      return holes
    end
    _G.last_infill = params
    return { version = params.textDocument.version, holes = variant(1), alternatives = { variant(2), variant(3) } }
  end]]

local function scripted(infill, env)
  return { scripted = true, options = { infill = infill, suggestion = { enabled = false } }, env = env }
end

t.test(
  'the keys go through alternatives, and the one shown is accepted',
  scripted({ alternatives = 3 }),
  function(child)
    child:lua(numbered .. keys_of_a_user)
    child:open({ 'a = 1', 'b = 1' }, 'a.txt')
    child:type('gg$<C-v>jgz')
    wait_until_ready(child)
    t.equal(child:ghost(), '<1:1>|<1:2>', 'the preview')
    t.equal(child:lua([[return _G.last_infill.alternatives]]), 3, 'alternatives')
    for _, step in ipairs({ { '<M-]>', 2 }, { '<M-]>', 3 }, { '<M-]>', 1 }, { '<M-[>', 3 } }) do
      child:type(step[1])
      t.wait('variant ' .. step[2], function()
        return child:ghost() == ('<%d:1>|<%d:2>'):format(step[2], step[2])
      end)
    end
    child:type('<Tab>')
    t.wait('the third is in the buffer', function()
      return vim.deep_equal(child:lines(), { 'a = <3:1>', 'b = <3:2>' })
    end)
    child:type('u')
    t.wait('undone', function()
      return vim.deep_equal(child:lines(), { 'a = 1', 'b = 1' })
    end)
  end
)

t.test(
  'options reach the server',
  scripted({
    mode = 'independent',
    max_tokens = 7,
    max_lines = 2,
    steps = 3,
    seed = 5,
    threshold = 0.25,
    order = 'leftToRight',
    temperature = 0.5,
    frames = false,
  }),
  function(child)
    child:lua(numbered .. keys_of_a_user)
    child:open({ '🦀x' }, 'a.txt')
    child:type('0lgz')
    wait_until_ready(child)
    local params = child:lua([[return _G.last_infill]])
    local place = { line = 0, character = 2 }
    t.equal(params.ranges, { { start = place, ['end'] = place } }, 'ranges')
    params.textDocument, params.ranges = nil, nil
    t.equal(params, {
      mode = 'independent',
      alternatives = 1,
      maxTokens = 7,
      maxLines = 2,
      steps = 3,
      seed = 5,
      threshold = 0.25,
      order = 'leftToRight',
      temperature = 0.5,
    }, 'parameters')
  end
)

t.test('frames become masks and tokens on the screen', scripted({}), function(child)
  child:lua(keys_of_a_user .. [[
    _G.script['diffcoder/infill'] = function(params, server)
      local function frame(hole, cells)
        server.notify('$/diffcoder/frame', { token = params.frameToken, hole = hole, range = params.ranges[hole + 1],
          forwards = 1, cells = cells })
      end
      frame(0, { vim.NIL, { text = ' + ', confidence = 0.9 }, { text = 'y', confidence = 0.1 }, vim.NIL })
      local stray = { token = 'of another', hole = 0, cells = { { text = 'no', confidence = 1 } } }
      server.notify('$/diffcoder/frame', stray)
      return server.later
    end]])
  child:open({ 'let a = x;' }, 'a.txt')
  child:type('$gz')
  t.wait('the frame', function()
    return child:screen():find('let a = x░ + y░;', 1, true)
  end)
  t.equal(child:ghost('DiffcoderToken'), ' + ', 'sure')
  t.equal(child:ghost('DiffcoderTokenUnsure'), 'y', 'unsure')
  child:type('<Esc>')
  t.wait('no preview', function()
    return child:ghost() == ''
  end)
  t.wait('the cancellation', function()
    return child:lua([[return vim.iter(_G.script_log):any(function(entry)
      return entry.method == '$/cancelRequest' end)]])
  end)
end)

t.test('typing discards a fill', scripted({}), function(child)
  child:lua(numbered .. keys_of_a_user)
  child:open({ 'abc' }, 'a.txt')
  child:type('gz')
  wait_until_ready(child)
  child:type('x')
  child:wait_for_message('the text changed; the fill is discarded')
  t.equal(child:ghost(), '', 'virtual text')
  t.equal(child:lines(), { 'bc' }, 'the buffer')
end)

t.test("the user's own keys come back after a fill", scripted({}), function(child)
  child:lua(numbered .. keys_of_a_user)
  child:open({ 'abc' }, 'a.txt')
  child:lua([[vim.keymap.set('n', '<Tab>', function() vim.g.own = 1 end, { buffer = 0 })]])
  child:type('gz')
  wait_until_ready(child)
  child:type('<Tab>')
  t.wait('accepted', function()
    return child:line() == '<1:1>abc'
  end)
  t.equal(child:lua([[return vim.g.own]]), vim.NIL, 'own mapping')
  child:type('<Tab>')
  t.wait('the own mapping', function()
    return child:lua([[return vim.g.own]]) == 1
  end)
end)

t.test('selections that overlap a mark are refused with a sentence', scripted({}), function(child)
  child:lua(numbered .. keys_of_a_user)
  child:open({ 'abc def' }, 'a.txt')
  child:type('0veegmgg0wvgz')
  child:wait_for_message('the ranges at lines 1 and 1 overlap')
  t.equal(infill_state(child), 'none', 'state')
end)

for _, case in ipairs({
  { '{ code = -32801, message = "modified" }', 'the text changed while it was filled; nothing was inserted' },
  { '{ code = -32803, message = "The model is away." }', 'The model is away%.' },
}) do
  t.test('an error of the server is told: ' .. case[2], scripted({}), function(child)
    child:lua(keys_of_a_user .. '_G.script["diffcoder/infill"] = function() return nil, ' .. case[1] .. ' end')
    child:open({ 'abc' }, 'a.txt')
    child:type('gz')
    child:wait_for_message(case[2])
    t.equal(infill_state(child), 'none', 'state')
    t.equal(child:ghost(), '', 'virtual text')
  end)
end

t.test(
  'a server that cannot fill ranges is told from one that can',
  scripted({}, { EDITOR_TEST_OLD = '1' }),
  function(child)
    child:lua(keys_of_a_user)
    child:open({ 'abc' }, 'a.txt')
    child:type('gz')
    child:wait_for_message('this server is too old to fill ranges')
  end
)

t.test('without a server there is a hint', nil, function(child)
  child:api('nvim_command', 'Diffcoder infill')
  child:wait_for_message(':checkhealth diffcoder says why')
end)
