local t = require('harness')
local text = require('diffcoder.text')

t.unit('a word is blanks and a run of one kind', function()
  for input, expected in pairs({
    ['len(), 0);'] = 'len',
    ['(), 0);'] = '(),',
    [' 0);'] = ' 0',
    ['\n    let x'] = '\n    let',
    ['日本語 x'] = '日本語',
    ['🦀🦀+1'] = '🦀🦀',
    ['  '] = '  ',
    [''] = '',
  }) do
    t.equal(text.word(input), expected, vim.inspect(input))
  end
end)

t.unit('words put together are the text again', function()
  local whole = '  if x>0 {\n\tprintln!("{}", "日本🦀");\n}\n\n'
  local rest, taken = whole, {}
  while rest ~= '' do
    local word = text.word(rest)
    assert(word ~= '', 'no progress at ' .. vim.inspect(rest))
    assert(vim.str_utf_start(rest, 1) == 0, 'cut inside a character')
    taken[#taken + 1], rest = word, rest:sub(#word + 1)
  end
  t.equal(table.concat(taken), whole, 'words')
end)

t.unit('a line is up to the end of the first with something on it', function()
  t.equal(text.line(' 0);\n}'), ' 0);', 'first line')
  t.equal(text.line('\n    a();\n    b();'), '\n    a();', 'line end first')
  t.equal(text.line('\n\n  a\nb'), '\n\n  a', 'empty lines first')
  t.equal(text.line('x'), 'x', 'only line')
end)

t.unit('line ends of files become those of buffers', function()
  t.equal(text.with_buffer_line_ends('a\r\nb\rc\n'), 'a\nb\nc\n', 'text')
end)

t.unit('text that is replaced by itself is not drawn twice', function()
  t.equal(text.without_replaced('x)', ')'), 'x', 'bracket')
  t.equal(text.without_replaced('x', ')'), 'x', 'another ending')
  t.equal(text.without_replaced('x', ''), 'x', 'nothing replaced')
  t.equal(text.without_replaced('(\n)', ')'), '(\n)', 'several lines')
end)

t.unit('tabs go to the next stop, counted in cells', function()
  t.equal(text.expand_tabs('\tx', 0, 4), '    x', 'at a stop')
  t.equal(text.expand_tabs('\tx', 3, 4), ' x', 'before a stop')
  t.equal(text.expand_tabs('日\tx\ty', 0, 4), '日  x   y', 'wide characters')
end)

t.unit('chunks are cut at line ends and keep their highlights', function()
  t.equal(text.chunk_lines({ { 'a\r\n', 'A' }, { '\tb', 'B' }, { '\n', 'C' } }, 2, 4), {
    { { 'a', 'A' } },
    { { '    b', 'B' } },
    {},
  }, 'lines')
end)

t.unit('byte columns become LSP characters', function()
  local line = 'a日🦀b'
  t.equal(text.character(line, 8, 'utf-8'), 8, 'utf-8')
  t.equal(text.character(line, 8, 'utf-16'), 4, 'utf-16')
  t.equal(text.character(line, 8, 'utf-32'), 3, 'utf-32')
  t.equal(text.character(line, 99, 'utf-16'), 5, 'past the end')
end)
