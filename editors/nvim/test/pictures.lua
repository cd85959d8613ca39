--- The pictures of the README: real keys in a Neovim with the plugin and the server, and the screen as it then is.

local t = require('harness')
local fixtures = require('fixtures')
local screens = require('screen')
local svg = require('svg')

local WIDTH = 84

local keys = [[
  vim.o.laststatus, vim.o.ruler, vim.o.showcmd = 2, false, false
  vim.opt.shortmess:append('I')
  vim.keymap.set({ 'n', 'x' }, ' f', '<Plug>(diffcoder-infill)')
  vim.keymap.set({ 'n', 'x' }, ' m', '<Plug>(diffcoder-mark)')
  vim.keymap.set({ 'n', 'x' }, ' w', '<Plug>(diffcoder-rewrite)')
  vim.keymap.set({ 'n', 'x' }, ' r', '<Plug>(diffcoder-repair)')
  vim.keymap.set({ 'n', 'x' }, ' t', '<Plug>(diffcoder-fill)')
  vim.keymap.set({ 'n', 'x' }, ' h', '<Plug>(diffcoder-heat)')
  vim.keymap.set('n', ' c', '<Plug>(diffcoder-heat-choose)')]]

--- Writes what is on the screen once it shows `pattern` and the cursor is back in the text, unless there is a question.
local function draw(screen, name, pattern, is_asking)
  t.wait('the screen shows ' .. pattern, function()
    local has_cursor = is_asking or screen.cursor.row < screen.height - 2
    return screen.is_whole and has_cursor and screen:text():find(pattern)
  end)
  local file = assert(io.open(vim.fs.joinpath(vim.env.EDITOR_TEST_IMAGES, name .. '.svg'), 'w'))
  file:write(svg.draw(screen))
  file:close()
end

--- A picture of `height` rows; `body` gets the child, with `lines` open, its screen, and a function that draws it.
local function picture(name, height, lines, options, body)
  t.test(name, { options = options }, function(child)
    local screen = screens.attach(child:lua([[return vim.v.servername]]), WIDTH, height)
    child:lua(keys)
    child:open(lines)
    -- No path of this machine in the status line.
    child:api('nvim_command', 'cd %:p:h')
    local ok, message = xpcall(body, debug.traceback, child, screen, function(...)
      draw(screen, name, ...)
    end)
    screen:close()
    assert(ok, message)
  end)
end

local short = { infill = { max_tokens = 24 }, suggestion = { enabled = false } }

--- Marks two of the three assertions, asks for a fill in the last, and so for all of them.
local function fill_three(child)
  for row, line in ipairs(fixtures.VECTORS) do
    if line:find('numbers.)', 1, true) then
      child:type(row .. 'G0f.l' .. (row < #fixtures.VECTORS - 1 and ' m' or ' f'))
    end
  end
end

picture('ghost-text', 12, fixtures.budget(), nil, function(child, _, shoot)
  child:type(fixtures.BUDGET_LINE .. 'Gzz$xa,')
  local ghost = vim.split(child:wait_for_ghost(), '[\n|]')[1]
  shoot(vim.pesc('assert_eq!(budget.len(),' .. ghost))
end)

picture('infill-denoising', 21, fixtures.VECTORS, short, function(child, screen, shoot)
  fill_three(child)
  local pid = child:server_pid()
  t.wait('tokens beside masks', function()
    local text = screen:text():gsub('▯', '')
    return text:find('assert!%(!?numbers%.[%w._(]') and text:find('░', 1, true)
  end)
  vim.uv.kill(pid, 'sigstop')
  local ok, message = pcall(shoot, '░')
  vim.uv.kill(pid, 'sigcont')
  assert(ok, message)
end)

picture('infill-proposal', 21, fixtures.VECTORS, short, function(child, _, shoot)
  fill_three(child)
  shoot('confidence.*accepts')
end)

local three_results = vim.tbl_deep_extend('force', short, { infill = { alternatives = 3 } })
picture('infill-selection', 12, fixtures.budget(), three_results, function(child, _, shoot)
  child:type((fixtures.BUDGET_LINE - 1) .. 'Gzzf=wv$h f')
  shoot('1/3, confidence.*accepts')
end)

picture('fill', 20, fixtures.STUBS, short, function(child, _, shoot)
  child:type(' t')
  shoot('confidence.*accepts')
end)

picture('repair', 12, fixtures.STUBS, short, function(child, _, shoot)
  child:type('29Gzz r')
  shoot('confidence.*accepts')
end)

picture('heat-map', 24, fixtures.budget(), short, function(child, _, shoot)
  child:type('33Gzt h')
  shoot('%d+ surprising tokens')
end)

picture('heat-choose', 16, fixtures.STUBS, short, function(child, screen, shoot)
  child:type('29Gzz h')
  t.wait('the heat map', function()
    return screen:text():find('%d+ surprising tokens')
  end)
  child:type('^ c')
  shoot('Type number', 'is asking')
  child:type('<Esc>')
end)

picture('refusal', 12, fixtures.STUBS, short, function(child, _, shoot)
  -- A message of two lines would want a key.
  child:lua([[vim.o.cmdheight = 2]])
  child:type('14Gzz w')
  shoot('diffcoder: ')
end)
