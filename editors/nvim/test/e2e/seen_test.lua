local t = require('harness')

local lines = { 'fn 🦀() {', '    two();', '}', '' }

local function test(name, body, env)
  local spec = { scripted = true, options = { suggestion = { enabled = false } }, env = env }
  t.test(name, spec, function(child)
    child:open(lines, 'a.txt')
    body(child)
  end)
end

--- The methods and parameters of what the server was told from the `from`th message on.
local function told(child, from)
  return child:lua(
    [[
    return vim.iter(vim.list_slice(_G.script_log, ...)):filter(function(message)
      return message.method == 'diffcoder/seen' or message.method == 'textDocument/didChange'
    end):totable()]],
    from or 1
  )
end

--- Types and waits until all of it is done.
local function type_all(child, keys)
  child:type(keys .. [[:let g:done = 1<CR>]])
  t.wait(keys, function()
    return child:lua([[return vim.g.done]]) == 1
  end)
  child:lua([[vim.g.done = nil]])
end

local function span(row, end_row, width)
  return { start = { line = row, character = 0 }, ['end'] = { line = end_row, character = width } }
end

test('the server is told the lines of every yank', function(child)
  local uri = child:lua([[return vim.uri_from_bufnr(0)]])
  local ranges = {
    ['ggyiw'] = span(0, 0, 9),
    ['ggyy'] = span(0, 0, 9),
    ['2GwVjy'] = span(1, 2, 1),
    ['ggwvjy'] = span(0, 1, 10),
    ['2G$<C-V>k0y'] = span(0, 1, 10),
    [':2,3yank<CR>'] = span(1, 2, 1),
    ['Gyy'] = span(3, 3, 0),
    ['ggyG'] = span(0, 3, 0),
  }
  for keys, range in pairs(ranges) do
    local before = child:lua([[return #_G.script_log]])
    type_all(child, keys)
    local expected = { method = 'diffcoder/seen', params = { textDocument = { uri = uri }, range = range } }
    t.equal(told(child, before + 1), { expected }, keys)
  end
end)

test('what is deleted is no yank, and the server has the text that a yank is of', function(child)
  type_all(child, '3Gddggoone<Esc>yy')
  local methods = vim.tbl_map(function(message)
    return message.method
  end, told(child))
  t.equal(methods[#methods], 'diffcoder/seen', 'the last message')
  t.equal(#vim.tbl_filter(function(method)
    return method == 'diffcoder/seen'
  end, methods), 1, 'yanks')
  assert(#methods > 1, 'the changes came later')
  t.equal(told(child)[#methods].params.range, span(1, 1, 3), 'range')
end)

test("yanks in other buffers are nobody else's business", function(child)
  child:type(':enew<CR>itext<Esc>')
  type_all(child, 'yy')
  t.equal(told(child), {}, 'messages')
end)

test('a server that does not know of yanks is told none', function(child)
  type_all(child, 'ggyy')
  t.equal(told(child), {}, 'messages')
end, { EDITOR_TEST_OLD = '1' })

test('a yank goes on whatever is wrong with the server', function(child)
  child:lua([[vim.lsp.get_clients = function() error('out of order') end]])
  type_all(child, 'ggyy')
  t.equal(child:lua([[return vim.fn.getreg('"')]]), lines[1] .. '\n', 'register')
  t.equal(child:messages(), '', 'messages')
end)
