local t = require('harness')
local fixtures = require('fixtures')

local keys = [[
  vim.keymap.set({ 'n', 'x' }, 'gw', '<Plug>(diffcoder-rewrite)')
  vim.keymap.set({ 'n', 'x' }, 'gr', '<Plug>(diffcoder-repair)', { nowait = true })
  vim.keymap.set({ 'n', 'x' }, 'gf', '<Plug>(diffcoder-fill)')
  vim.keymap.set('n', 'gd', '<Plug>(diffcoder-doc)')
  vim.keymap.set({ 'n', 'x' }, 'ga', '<Plug>(diffcoder-alternatives)')]]

--- Holes are the matches of a word; a fill is its number, or the instruction.
local answers = [[
  local words = { fillAll = 'todo', repair = 'wrogn' }
  _G.script['diffcoder/holes'] = function(params)
    _G.last_holes = params
    local holes = {}
    if params.kind == 'docComment' then
      local place = { line = params.range.start.line, character = 0 }
      holes[1] = { range = { start = place, ['end'] = place }, reason = '' }
      return { version = params.textDocument.version, holes = holes }
    end
    for row, line in ipairs(vim.api.nvim_buf_get_lines(0, 0, -1, true)) do
      local inside = not params.range or (row - 1 >= params.range.start.line and row - 1 <= params.range['end'].line)
      local from, to = line:find(words[params.kind])
      if inside and from then
        from, to = vim.str_utfindex(line, 'utf-16', from - 1), vim.str_utfindex(line, 'utf-16', to)
        local range = { start = { line = row - 1, character = from }, ['end'] = { line = row - 1, character = to } }
        holes[#holes + 1] = { range = range, reason = params.kind }
      end
    end
    return { version = params.textDocument.version, holes = holes }
  end
  _G.script['diffcoder/infill'] = function(params)
    _G.last_infill = params
    local function result(n)
      local fills = {}
      for i, range in ipairs(params.ranges) do
        local text = params.instruction or ('<%d:%d>'):format(n, i)
        fills[i] = { range = range, newText = text, confidence = 0.5, finish = 'endOfText' }
      end
      return fills
    end
    local others = {}
    for n = 2, params.alternatives do others[#others + 1] = result(n) end
    return { version = params.textDocument.version, holes = result(1), alternatives = others }
  end]]

local lines = { 'fn 🦀() { todo }', 'fn b() { todo }', 'let x = wrogn;' }

local function test(name, body, env)
  local spec = { scripted = true, options = { suggestion = { enabled = false } }, env = env }
  t.test(name, spec, function(child)
    child:lua(keys .. '\n' .. answers)
    child:open(lines, 'a.txt')
    body(child)
  end)
end

local function accept(child)
  t.wait('the fill is ready', function()
    return child:lua([[return require('diffcoder.infill').state(vim.api.nvim_get_current_buf())]]) == 'ready'
  end)
  child:type('<Tab>')
end

local function becomes(child, expected)
  t.wait(vim.inspect(expected), function()
    return vim.deep_equal(child:lines(), expected)
  end)
end

test('all holes of the buffer are filled, and one undo takes them back', function(child)
  child:type('gf')
  accept(child)
  becomes(child, { 'fn 🦀() { <1:1> }', 'fn b() { <1:2> }', 'let x = wrogn;' })
  t.equal(child:lua([[return _G.last_holes.range]]), vim.NIL, 'range')
  child:type('u')
  becomes(child, lines)
end)

test('the holes of a selection are filled', function(child)
  child:type('2GVgf')
  accept(child)
  becomes(child, { lines[1], 'fn b() { <1:1> }', lines[3] })
end)

test('repair sends the diagnostics of the line and never keeps the draft', function(child)
  child:lua([[
    local namespace = vim.api.nvim_create_namespace('lint')
    vim.diagnostic.set(namespace, 0, {
      { lnum = 0, col = 0, end_col = 2, message = 'elsewhere' },
      { lnum = 2, col = 8, end_col = 13, message = 'no such name', severity = vim.diagnostic.severity.ERROR },
    })]])
  child:type('3Ggr')
  accept(child)
  becomes(child, { lines[1], lines[2], 'let x = <1:1>;' })
  local sent = child:lua([[return { _G.last_holes.diagnostics, _G.last_infill.avoidDraft }]])
  t.equal(sent[2], true, 'avoidDraft')
  t.equal(#sent[1], 1, 'diagnostics')
  t.equal(sent[1][1].message, 'no such name', 'diagnostic')
  t.equal(
    sent[1][1].range,
    { start = { line = 2, character = 8 }, ['end'] = { line = 2, character = 13 } },
    'its range'
  )
end)

test('where there is nothing to repair, that is said', function(child)
  child:type('1Ggr')
  child:wait_for_message('there is nothing to repair here')
end)

test('a rewrite asks for the instruction, shows its result, and is discarded or accepted', function(child)
  child:type('3G0gw')
  child:type('loud<CR>')
  t.wait('the result is shown', function()
    return child:ghost() == 'loud'
  end)
  t.equal(child:lua([[return _G.last_infill.instruction]]), 'loud', 'instruction')
  child:type('<Esc>')
  becomes(child, lines)
  t.wait('no preview', function()
    return child:ghost() == ''
  end)
  -- The earlier instruction is in the history of the box.
  child:type('3G0fwvegw')
  child:type('<Up><CR>')
  accept(child)
  becomes(child, { lines[1], lines[2], 'let x = loud;' })
end)

test('a rewrite takes its instruction from the command line', function(child)
  child:type(':3Diffcoder rewrite use a match<CR>')
  accept(child)
  becomes(child, { lines[1], lines[2], 'use a match' })
end)

test('leaving the box asks for nothing', function(child)
  child:type('3Ggw')
  child:type('x<Esc>')
  t.wait('normal mode', function()
    return child:api('nvim_get_mode').mode == 'n'
  end)
  t.equal(child:lua([[return _G.last_infill]]), vim.NIL, 'requests')
end)

test('what the model cannot do says why', function(child)
  child:type('3Ggw')
  child:wait_for_message('no instructions for scripted')
  child:api('nvim_command', 'checkhealth diffcoder')
  t.wait('the report says so too', function()
    return table.concat(child:lines(), '\n'):find('not available: rewrite (no instructions for scripted)', 1, true)
  end)
end, { EDITOR_TEST_REASON = 'no instructions for scripted' })

test('an older server fills no holes and says why', function(child)
  child:type('gf')
  child:wait_for_message('this server is too old to find holes')
end, { EDITOR_TEST_OLD = '1' })

test('a doc comment goes above its item', function(child)
  child:type('2G5|gd')
  accept(child)
  becomes(child, { lines[1], '<1:1>' .. lines[2], lines[3] })
  t.equal(child:lua([[return _G.last_infill.kind]]), 'docComment', 'kind')
end)

test('alternatives are four', function(child)
  child:type('3G$ga')
  t.wait('the first', function()
    return child:ghost() == '<1:1>'
  end)
  t.equal(child:lua([[return _G.last_infill.alternatives]]), 4, 'alternatives')
  child:type('<M-[>')
  t.wait('the last', function()
    return child:ghost() == '<4:1>'
  end)
end)

test('text that changed while the holes were sought is left alone', function(child)
  child:lua([[
    local holes = _G.script['diffcoder/holes']
    _G.script['diffcoder/holes'] = function(params, server)
      _G.answer = function() server.reply(holes(params)) end
      return server.later
    end]])
  child:type('gf')
  t.wait('the request', function()
    return child:lua([[return _G.answer ~= nil]])
  end)
  child:type('x')
  child:lua([[_G.answer()]])
  child:wait_for_message('the text changed meanwhile; nothing was filled')
  t.equal(child:lua([[return _G.last_infill]]), vim.NIL, 'requests')
end)

test('the model is unloaded and loaded, and the status says so', function(child)
  child:lua([[
    for method, state in pairs({ ['diffcoder/unload'] = 'unloaded', ['diffcoder/reload'] = 'idle' }) do
      _G.script[method] = function(_, server)
        local status = { state = state, model = 'scripted', device = 'paper', memoryBytes = 0 }
        server.notify('$/diffcoder/status', status)
        return status
      end
    end]])
  child:api('nvim_command', 'Diffcoder unload')
  t.wait('unloaded', function()
    return child:lua([[return require('diffcoder').status()]]) == 'diffcoder ○'
  end)
  t.equal(child:lua([[return require('diffcoder.status').model().device]]), 'paper', 'device')
  child:api('nvim_command', 'Diffcoder reload')
  t.wait('idle', function()
    return child:lua([[return require('diffcoder.status').state()]]) == 'idle'
  end)
end)

--- The server's code action as newer servers send it; a choice is up to `_G.choose()`.
local code_action = [[
  _G.script['textDocument/codeAction'] = function(params)
    local title = 'Rewrite with instruction'
    local order = { uri = params.textDocument.uri, version = _G.version, range = params.range }
    local command = { title = title, command = 'diffcoder.askRewrite', arguments = { order } }
    return { { title = title, kind = 'refactor.rewrite.diffcoder.rewrite', command = command } }
  end
  _G.script['codeAction/resolve'] = function(params) return params end
  vim.ui.select = function(items, _, on_choice) _G.choose = function() on_choice(items[1], 1) end end]]

--- Selects the word and waits for the code actions.
local function offered(child)
  child:lua(code_action .. '\n_G.version = vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()]')
  child:type('3G0fwvegra')
  t.wait('the code actions', function()
    return child:lua([[return _G.choose ~= nil]])
  end)
end

test('the rewrite among the code actions asks for its instruction, which the server was told', function(child)
  t.equal(
    child:lua([[return _G.script_log[1].params.capabilities.experimental.diffcoder]]),
    { asksInstruction = true },
    'capabilities'
  )
  offered(child)
  child:lua([[_G.choose()]])
  t.wait('the box', function()
    return child:api('nvim_get_mode').mode == 'c'
  end)
  child:type('loud<CR>')
  accept(child)
  becomes(child, { lines[1], lines[2], 'let x = loud;' })
  t.equal(
    child:lua([[return { _G.last_infill.instruction, _G.last_infill.ranges }]]),
    { 'loud', { { start = { line = 2, character = 8 }, ['end'] = { line = 2, character = 13 } } } },
    'request'
  )
end)

test('a code action for a text that has changed rewrites nothing', function(child)
  offered(child)
  child:type('<Esc>ggx')
  child:lua([[_G.choose()]])
  child:wait_for_message('the text changed meanwhile; nothing was filled')
  t.equal(child:lua([[return _G.last_infill]]), vim.NIL, 'requests')
end)

test('a code action for a buffer that is hidden rewrites nothing', function(child)
  offered(child)
  child:type('<Esc>:enew<CR>')
  child:lua([[_G.choose()]])
  child:wait_for_message('the buffer to rewrite is not shown; nothing was filled')
  t.equal(child:lua([[return _G.last_infill]]), vim.NIL, 'requests')
end)

test('text that changes while the instruction is asked for is left alone', function(child)
  child:lua([[vim.ui.input = function(_, on_confirm) _G.answer = on_confirm end]])
  child:type('3Ggw')
  t.wait('the box', function()
    return child:lua([[return _G.answer ~= nil]])
  end)
  child:type('ggx')
  child:lua([[_G.answer('loud')]])
  child:wait_for_message('the text changed meanwhile; nothing was filled')
  t.equal(child:lua([[return _G.last_infill]]), vim.NIL, 'requests')
end)

--- With the server and its model.
local function with_model(name, body)
  t.test(name, { options = { suggestion = { enabled = false }, infill = { max_tokens = 24 } } }, function(child)
    child:lua(keys)
    child:open(fixtures.STUBS)
    body(child)
    child:assert_in_step()
    child:type('u')
    becomes(child, fixtures.STUBS)
  end)
end

with_model('the model fills all stubs of a file', function(child)
  child:type('gf')
  accept(child)
  local text = t.wait('no stub is left', function()
    local text = table.concat(child:lines(), '\n')
    return not text:find('todo!', 1, true) and text
  end)
  assert(vim.startswith(text, table.concat(vim.list_slice(fixtures.STUBS, 1, 9), '\n')), text)
  assert(vim.endswith(text, table.concat(vim.list_slice(fixtures.STUBS, 16), '\n')), text)
end)

with_model('the model repairs what it doubts and leaves the rest', function(child)
  child:type('29Ggr')
  accept(child)
  local text = t.wait('a change', function()
    return not vim.deep_equal(child:lines(), fixtures.STUBS) and table.concat(child:lines(), '\n')
  end)
  assert(vim.startswith(text, table.concat(vim.list_slice(fixtures.STUBS, 1, 28), '\n') .. '\n'), text)
  assert(vim.endswith(text, '\n' .. table.concat(vim.list_slice(fixtures.STUBS, 30), '\n')), text)
end)

with_model('the model writes a doc comment', function(child)
  child:type('13Ggd')
  accept(child)
  t.wait('the comment', function()
    return child:lines()[13]:match('^    ///')
  end)
end)

t.test('the model says that it takes no instructions', nil, function(child)
  child:lua(keys)
  child:open(fixtures.STUBS)
  child:type('14Ggw')
  child:wait_for_message('not trained to follow instructions')
end)

t.test('the server knows that suggestions are asked for, and offers no menu beside them', nil, function(child)
  child:open(fixtures.STUBS)
  local provider = child:lua([[
    return vim.lsp.get_clients({ name = 'diffcoder' })[1].server_capabilities.completionProvider]])
  t.equal(provider, vim.NIL, 'completionProvider')
end)
