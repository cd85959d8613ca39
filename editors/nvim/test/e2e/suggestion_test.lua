local t = require('harness')
local fixtures = require('fixtures')

--- Opens the unfinished assertion, types at its end, and waits for a suggestion.
local function suggest(child, keys)
  child:open(fixtures.budget())
  child:type(fixtures.BUDGET_LINE .. 'G' .. (keys or 'A'))
  return child:wait_for_ghost()
end

for _, engine in ipairs(t.at_least(12) and { 'core', 'plugin' } or { 'plugin' }) do
  local function test(name, body, spec)
    spec = vim.tbl_deep_extend('force', { options = { suggestion = { engine = engine } } }, spec or {})
    t.test(('%s (%s)'):format(name, engine), spec, body)
  end

  test('ghost text appears and Tab accepts it', function(child)
    local ghost = suggest(child)
    local before = fixtures.budget()
    t.equal(child:lines(), before, 'the buffer before accepting')
    local first = vim.split(before[fixtures.BUDGET_LINE] .. ghost, '\n')[1]
    assert(child:screen():find(first, 1, true), 'the suggestion is not on the screen')
    child:type('<Tab>')
    local expected = vim.list_slice(before, 1, fixtures.BUDGET_LINE - 1)
    vim.list_extend(expected, vim.split(before[fixtures.BUDGET_LINE] .. ghost, '\n'))
    vim.list_extend(expected, vim.list_slice(before, fixtures.BUDGET_LINE + 1))
    t.wait('the suggestion is in the buffer', function()
      return vim.deep_equal(child:lines(), expected)
    end)
    child:assert_in_step()
  end)

  test('Escape hides the suggestion', function(child)
    suggest(child)
    child:type('<Esc>')
    t.wait('no ghost text', function()
      return child:ghost() == ''
    end)
    t.equal(child:lines(), fixtures.budget(), 'the buffer')
  end)

  test('a word is accepted, and the line stays valid', function(child)
    local ghost = suggest(child)
    local line = child:line()
    child:type('<M-Right>')
    t.wait('a word is in the buffer', function()
      return child:line() ~= line
    end)
    local word = require('diffcoder.text').word(ghost)
    t.equal(child:line(), line .. word, 'the line')
    assert(#word < #ghost, 'the suggestion is a single word: ' .. ghost)
    child:assert_in_step()
  end)

  test('a line is accepted', function(child)
    local ghost = suggest(child)
    local line = child:line()
    child:type('<M-Down>')
    t.wait('a line is in the buffer', function()
      return child:line() == line .. require('diffcoder.text').line(ghost)
    end)
    child:assert_in_step()
  end)

  test('the dismiss key hides the suggestion and inserts nothing', function(child)
    suggest(child)
    local line = child:line()
    child:type('<C-]>')
    t.wait('no ghost text', function()
      return child:ghost() == ''
    end)
    t.equal(child:line(), line, 'the line')
  end)

  test('Tab without a suggestion is a tab, and keeps what the user mapped it to', function(child)
    child:lua([[vim.keymap.set('i', '<Tab>', '<C-v>u00bb')]])
    child:open({ 'fn main() {}' })
    child:api('nvim_command', 'Diffcoder suggestions off')
    child:type('o<Tab>')
    t.wait('the mapped character', function()
      return child:line() == '»'
    end)
    child:type('<Esc>')
    child:lua([[vim.keymap.del('i', '<Tab>'); vim.cmd('edit! ' .. vim.fn.tempname() .. '.py')]])
    child:wait_for_server()
    child:api('nvim_command', 'Diffcoder suggestions off')
    child:type('i<Tab>')
    t.wait('a tab or blanks', function()
      return child:line():match('^%s+$')
    end)
  end)

  test('auto-closed brackets stay whole', function(child)
    child:lua([[vim.keymap.set('i', '(', '()<Left>')]])
    local lines = fixtures.budget()
    lines[fixtures.BUDGET_LINE] = '        assert!'
    child:open(lines)
    child:type(fixtures.BUDGET_LINE .. 'GA(budget.is')
    local ghost = child:wait_for_ghost()
    local before = '        assert!(budget.is)'
    t.equal(child:line(), before, 'the line before accepting')
    child:type('<Tab>')
    t.wait('the suggestion is in the buffer', function()
      return child:line() ~= before
    end)
    child:assert_in_step()
    -- A server that replaces the bracket sends it along; one that does not leaves it where it is.
    local with_sent = before:sub(1, -2) .. ghost
    local with_own = with_sent .. ')'
    local count = #vim.split(ghost, '\n')
    local inserted = vim.list_slice(child:lines(), fixtures.BUDGET_LINE, fixtures.BUDGET_LINE + count - 1)
    local text = table.concat(inserted, '\n')
    assert(text == with_own or (text == with_sent and ghost:find(')', 1, true) ~= nil), text)
  end)

  test('characters outside ASCII left of the cursor', function(child)
    local lines = fixtures.budget()
    local line = '        let word = "日本語 🦀"; assert_eq!(word.len(),'
    lines[fixtures.BUDGET_LINE] = line
    table.insert(lines, fixtures.BUDGET_LINE, '        // 漢字 🦀🦀 коммент')
    child:open(lines)
    child:type((fixtures.BUDGET_LINE + 1) .. 'GA')
    local ghost = child:wait_for_ghost()
    child:type('<Tab>')
    t.wait('the suggestion is in the buffer', function()
      return child:lines()[fixtures.BUDGET_LINE + 1] == line .. vim.split(ghost, '\n')[1]
    end)
    child:assert_in_step()
  end)

  test('a file of 20 000 lines', function(child)
    local lines = fixtures.long(20000)
    local row = #lines - #fixtures.budget() + fixtures.BUDGET_LINE
    child:open(lines)
    child:type(row .. 'GA')
    child:wait_for_ghost()
    child:type('<Esc>10000Go')
    local typed = '// The quick brown fox jumps over the lazy dog.'
    local from = vim.uv.hrtime()
    for key in typed:gmatch('.') do
      child:type(key)
      t.wait('the key is in the buffer', function()
        return child:line():sub(-1) == key
      end)
    end
    local ms_per_key = (vim.uv.hrtime() - from) / 1e6 / #typed
    -- Far above what it takes, since the machine may be busy; drawing or sending the whole file for each key is not.
    assert(ms_per_key < 500, ('%.0f ms for each key'):format(ms_per_key))
    child:type('<Esc>')
    child:assert_in_step()
  end)

  test('the server stops working when insert mode ends', function(child)
    child:open(fixtures.long(20000))
    local pid = child:server_pid()
    child:lua([[
      _G.requests = {}
      vim.api.nvim_create_autocmd('LspRequest', { callback = function(event)
        local request = event.data.request
        if request.method == 'textDocument/inlineCompletion' then table.insert(_G.requests, request.type) end
      end })]])
    child:type('10000Go    let x = ')
    t.wait('a request', function()
      return child:lua([[return require('diffcoder.status').state()]]) == 'suggesting'
    end)
    child:type('<Esc>')
    t.wait('the request is cancelled', function()
      return child:lua([[return vim.list_contains(_G.requests, 'cancel')]])
    end)
    t.wait('no request', function()
      return child:lua([[return require('diffcoder.status').state()]]) == 'idle'
    end)
    t.wait('the server is idle', function()
      local ticks = t.cpu_ticks(pid)
      vim.wait(300)
      return t.cpu_ticks(pid) - ticks <= 1
    end, 5000)
    t.equal(child:ghost(), '', 'ghost text')
  end)

  test('a server that comes up while the user types is asked without another key', function(child)
    child:open({ '' }, 'a.txt')
    child:type('ia')
    local function n_requests()
      return child:lua([[return #vim.tbl_filter(function(entry)
        return entry.method == 'textDocument/inlineCompletion' end, _G.script_log)]])
    end
    t.wait('a request', function()
      return n_requests() > 0
    end)
    child:lua([[_G.script_log = {}; require('diffcoder.client').restart()]])
    t.wait('another one', function()
      return n_requests() > 0
    end)
    t.equal(child:line(), 'a', 'the line')
  end, { scripted = true })

  test('suggestions go on after the server was killed', function(child)
    child:open(fixtures.budget())
    local pid = child:server_pid()
    vim.uv.kill(pid, 'sigkill')
    child:wait_for_message('the server died %(signal 9%) and is started again')
    child:wait_for_server()
    assert(child:server_pid() ~= pid, 'the same process')
    child:type(fixtures.BUDGET_LINE .. 'GA')
    child:wait_for_ghost()
    child:assert_in_step()
  end)
end

t.test('a server that dies again and again is left alone', { options = { restarts = 1 } }, function(child)
  child:open(fixtures.budget())
  vim.uv.kill(child:server_pid(), 'sigkill')
  child:wait_for_message('is started again')
  child:wait_for_server()
  vim.uv.kill(child:server_pid(), 'sigkill')
  child:wait_for_message(':Diffcoder restart starts it again')
  child:api('nvim_command', 'Diffcoder restart')
  child:wait_for_server()
end)

t.test(':Diffcoder restart gives a new process and says nothing', nil, function(child)
  child:open(fixtures.budget())
  local pid = child:server_pid()
  child:api('nvim_command', 'Diffcoder restart')
  t.wait('the old process has ended', function()
    return not vim.uv.fs_stat('/proc/' .. pid)
  end)
  child:wait_for_server()
  assert(child:server_pid() ~= pid, 'the same process')
  t.equal(child:messages(), '', 'messages')
end)

t.test('suggestions can be switched off and on', nil, function(child)
  child:open(fixtures.budget())
  child:api('nvim_command', 'Diffcoder suggestions off')
  child:type(fixtures.BUDGET_LINE .. 'GA')
  vim.wait(1500)
  t.equal(child:ghost(), '', 'ghost text')
  child:type('<Esc>')
  child:api('nvim_command', 'Diffcoder suggestions')
  child:type('A')
  child:wait_for_ghost()
end)

--- Answers of the scripted server: two items, whose text does not depend on any model.
local two_items = [[
  _G.script['textDocument/inlineCompletion'] = function(params)
    local at = params.position
    local function item(text) return { insertText = text, range = { start = at, ['end'] = at } } end
    return { items = { item('one();\ntwo();'), item('three();') } }
  end]]

t.test('next and previous go round the suggestions', { scripted = true }, function(child)
  child:lua(two_items)
  child:open({ '' }, 'a.txt')
  child:type('i')
  local first = child:wait_for_ghost()
  assert(first:find('one();', 1, true), first)
  child:type('<M-]>')
  t.wait('the second', function()
    return child:ghost():find('three();', 1, true)
  end)
  child:type('<M-[>')
  t.wait('the first', function()
    return child:ghost():find('one();', 1, true)
  end)
  child:type('<M-]>')
  t.wait('the second', function()
    return child:ghost():find('three();', 1, true)
  end)
  child:type('<Tab>')
  t.wait('it is accepted', function()
    return vim.deep_equal(child:lines(), { 'three();' })
  end)
end)

local plugin_engine = { scripted = true, options = { suggestion = { engine = 'plugin' } } }

t.test('a suggestion stays while the user types along, without another request', plugin_engine, function(child)
  child:lua(two_items)
  child:open({ '' }, 'a.txt')
  child:type('i')
  child:wait_for_ghost()
  child:type('on')
  t.wait('the rest', function()
    return child:ghost():match('^e%(%);')
  end)
  child:type('<M-Right><M-Down>')
  t.wait('a word and a line', function()
    return child:line() == 'one();'
  end)
  t.wait('the last line', function()
    return child:ghost():match('two%(%);')
  end)
  child:type('<Tab>')
  t.wait('all of it', function()
    return vim.deep_equal(child:lines(), { 'one();', 'two();' })
  end)
  local n_requests = child:lua([[return vim.iter(_G.script_log):filter(function(entry)
    return entry.method == 'textDocument/inlineCompletion' end):fold(0, function(n) return n + 1 end)]])
  t.equal(n_requests, 1, 'requests')
end)

t.test('text right of the cursor that a suggestion replaces is not doubled', { scripted = true }, function(child)
  child:lua([[
    _G.script['textDocument/inlineCompletion'] = function(params)
      local at = params.position
      local past = { line = at.line, character = at.character + 1 }
      return { { insertText = 'x, y)', range = { start = at, ['end'] = past } } }
    end]])
  child:open({ 'f🦀日()' }, 'a.txt')
  child:type('$i')
  child:wait_for_ghost()
  child:type('<Tab>')
  t.wait('the bracket is replaced', function()
    return child:line() == 'f🦀日(x, y)'
  end)
end)

t.test('a file with DOS line ends gets no carriage returns', { scripted = true }, function(child)
  child:lua([[
    _G.script['textDocument/inlineCompletion'] = function(params)
      local at = params.position
      return { { insertText = 'one\r\ntwo', range = { start = at, ['end'] = at } } }
    end]])
  child:open({ '\r' }, 'a.txt')
  t.equal(child:lua([[return vim.bo.fileformat]]), 'dos', 'fileformat')
  child:type('i')
  child:wait_for_ghost()
  child:type('<Tab>')
  t.wait('two lines', function()
    return vim.deep_equal(child:lines(), { 'one', 'two' })
  end)
end)
