local t = require('harness')
local fixtures = require('fixtures')

local function health(child)
  child:api('nvim_command', 'checkhealth diffcoder')
  return t.wait('the report', function()
    local text = table.concat(child:lines(), '\n')
    return text:find('Keys', 1, true) and text or nil
  end)
end

t.test(':checkhealth is green with a server', nil, function(child)
  child:open(fixtures.budget())
  local report = health(child)
  assert(report:find('diffcoder-lsp: ', 1, true) and report:find('positions in utf-8', 1, true), report)
  assert(not report:find('ERROR', 1, true) and not report:find('WARNING', 1, true), report)
end)

t.test(
  ':checkhealth says which server is missing and how to get it',
  { bare = true, arguments = { '--clean' } },
  function(child)
    child:lua([[
    vim.opt.runtimepath:prepend(vim.env.EDITOR_TEST_PLUGIN)
    require('diffcoder').setup({ cmd = { 'no-such-server' } })]])
    local report = health(child)
    assert(report:find('no-such-server cannot be run', 1, true), report)
    assert(report:find('cargo install --path lsp', 1, true), report)
  end
)

t.test('a wrong option is told in one sentence', { bare = true, arguments = { '--clean' } }, function(child)
  local message = child:lua([[
    vim.opt.runtimepath:prepend(vim.env.EDITOR_TEST_PLUGIN)
    local _, message = pcall(require('diffcoder').setup, { infill = { mode = 'both' } })
    return message]])
  t.equal(message, 'diffcoder: infill.mode must be one of joint, independent, not "both"', 'message')
end)

t.test('the lualine component shows what the server does', { scripted = true }, function(child)
  -- The class that lualine gives its components to extend.
  child:lua([[
    package.preload['lualine.component'] = function()
      local Base = {}
      Base.__index = Base
      function Base:extend()
        local class = setmetatable({}, self)
        class.__index = class
        return class
      end
      return Base
    end
    vim.o.statusline = "%{%v:lua.require'lualine.components.diffcoder'.update_status()%}"
    vim.o.laststatus = 2
    _G.script['diffcoder/infill'] = function(params, server)
      _G.answer = function()
        server.reply({ holes = { { range = params.ranges[1], newText = 'x', confidence = 1, finish = 'endOfText' } } })
      end
      return server.later
    end]])
  t.equal(child:lua([[return require('lualine.components.diffcoder').update_status()]]), '', 'without a server')
  local function shows(text)
    t.wait(text, function()
      return child:screen():find(text, 1, true)
    end)
  end
  child:open({ 'abc' }, 'a.txt')
  shows('diffcoder')
  child:api('nvim_command', 'Diffcoder infill')
  shows('diffcoder ░▒▓')
  child:lua([[_G.answer()]])
  shows('diffcoder ✓')
  child:type('<Esc>')
  t.wait('idle again', function()
    return child:lua([[return require('diffcoder.status').state()]]) == 'idle'
  end)
end)

t.test('the command completes its subcommands and names them when one is wrong', nil, function(child)
  t.equal(
    child:lua([[return vim.fn.getcompletion('Diffcoder re', 'cmdline')]]),
    { 'reject', 'reload', 'repair', 'restart', 'rewrite' },
    'names'
  )
  t.equal(
    child:lua([[return vim.fn.getcompletion('Diffcoder suggestions o', 'cmdline')]]),
    { 'off', 'on' },
    'arguments'
  )
  child:type(':Diffcoder fulfil<CR>')
  child:wait_for_message('there is no "fulfil"; there are accept, alternatives, clear')
end)

t.test('nothing of the plugin is loaded before it is used', { bare = true, arguments = { '--clean' } }, function(child)
  local loaded = child:lua([[
    vim.opt.runtimepath:prepend(vim.env.EDITOR_TEST_PLUGIN)
    vim.cmd.runtime('plugin/diffcoder.lua')
    return vim.iter(vim.tbl_keys(package.loaded)):filter(function(name)
      return vim.startswith(name, 'diffcoder') end):totable()]])
  t.equal(loaded, {}, 'modules')
end)

t.test('the help has a tag for every mapping, option group and the command', nil, function(child)
  local missing = child:lua([[
    local doc = vim.fn.tempname()
    vim.fn.mkdir(doc .. '/doc', 'p')
    vim.fn.writefile(vim.fn.readfile(vim.env.EDITOR_TEST_PLUGIN .. '/doc/diffcoder.txt'), doc .. '/doc/diffcoder.txt')
    vim.cmd('helptags ' .. doc .. '/doc')
    local tags = {}
    for _, line in ipairs(vim.fn.readfile(doc .. '/doc/tags')) do tags[line:match('^%S+')] = true end
    local wanted = { ':Diffcoder', 'diffcoder', 'diffcoder-options', 'diffcoder-highlights' }
    for _, mode in ipairs({ 'n', 'x', 'i' }) do
      for _, map in ipairs(vim.api.nvim_get_keymap(mode)) do
        if map.lhs:find('<Plug>(diffcoder', 1, true) then wanted[#wanted + 1] = map.lhs end
      end
    end
    for group in pairs(require('diffcoder.preview').links) do wanted[#wanted + 1] = 'hl-' .. group end
    return vim.iter(wanted):filter(function(tag) return not tags[tag] end):totable()]])
  t.equal(missing, {}, 'missing tags')
end)

t.test('the help lists every option', nil, function(child)
  local missing = child:lua([[
    local text = table.concat(vim.fn.readfile(vim.env.EDITOR_TEST_PLUGIN .. '/doc/diffcoder.txt'), '\n')
    return vim.iter({ 'cmd', 'filetypes', 'restarts', 'enabled', 'engine', 'debounce_ms', 'accept', 'accept_word',
      'accept_line', 'next', 'previous', 'dismiss', 'preview', 'frames', 'mode', 'alternatives', 'max_tokens',
      'max_lines', 'steps', 'seed', 'threshold', 'order', 'temperature', 'reject' }):filter(function(name)
      return not text:find('%f[%w]' .. name .. '%f[^%w_]') end):totable()]])
  t.equal(missing, {}, 'options')
end)
