local t = require('harness')
local screens = require('screen')
local svg = require('svg')

t.test('the screen of a client of the UI protocol is that of Neovim, also after scrolling', nil, function(child)
  local screen = screens.attach(child:lua([[return vim.v.servername]]), 40, 8)
  local lines = {}
  for row = 1, 60 do
    lines[row] = ('%d 日本 <a>'):format(row)
  end
  child:api('nvim_buf_set_lines', 0, 0, -1, true, lines)
  for _, key in ipairs({ '30G', '<C-e>', '<C-y>', '<C-d>', 'dd', 'O&<Esc>', 'zb' }) do
    child:type(key)
    t.wait('the same text after ' .. key, function()
      return screen.is_whole and screen:text() == child:screen()
    end, 5000)
  end
  child:lua([[
    local namespace = vim.api.nvim_create_namespace('test')
    vim.api.nvim_set_hl(0, 'Odd', { fg = '#123456', bg = '#fedcba', sp = '#ff0000', undercurl = true })
    vim.api.nvim_buf_set_extmark(0, namespace, vim.fn.line('.') - 1, 0, { virt_text = { { 'odd░' , 'Odd' } },
      virt_text_pos = 'inline' })]])
  local expected = {
    'fill="#123456" textLength="25.29" xml:space="preserve">odd</text>',
    'fill="#fedcba"',
    'stroke="#ff0000"',
    'fill="#123456" fill-opacity="0.6"',
    '&lt;a&gt;',
  }
  t.wait('the drawing', function()
    local drawing = screen.is_whole and svg.draw(screen)
    return drawing and vim.iter(expected):all(function(part)
      return drawing:find(part, 1, true)
    end)
  end, 5000)
  screen:close()
end)
