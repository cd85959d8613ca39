--- Ways to get the plugin into Neovim, each with an empty home, followed by a suggestion or a command of it.

local t = require('harness')
local fixtures = require('fixtures')

local plugin, root = vim.env.EDITOR_TEST_PLUGIN, vim.env.EDITOR_TEST_ROOT

local function write(path, text)
  vim.fn.mkdir(vim.fs.dirname(path), 'p')
  vim.fn.writefile(vim.split(text, '\n'), path)
end

--- A home of its own with this init.lua.
local function home(init)
  local dir = vim.fn.tempname()
  write(dir .. '/config/nvim/init.lua', 'vim.o.swapfile = false\n' .. init)
  return {
    dir = dir,
    spec = {
      bare = true,
      arguments = {},
      env = {
        HOME = dir,
        XDG_CONFIG_HOME = dir .. '/config',
        XDG_DATA_HOME = dir .. '/data',
        XDG_STATE_HOME = dir .. '/state',
        XDG_CACHE_HOME = dir .. '/cache',
        PATH = vim.fs.dirname(vim.env.EDITOR_TEST_SERVER) .. ':' .. vim.env.PATH,
      },
    },
  }
end

local function suggests(child)
  t.wait('startup', function()
    return child:lua([[return vim.v.vim_did_enter]]) == 1
  end)
  child:open(fixtures.budget())
  child:type(fixtures.BUDGET_LINE .. 'GA')
  local ghost = child:wait_for_ghost()
  local line = child:line()
  child:type('<Tab>')
  t.wait('it is accepted', function()
    return child:line() == line .. vim.split(ghost, '\n')[1]
  end)
  t.equal(
    child:api('nvim_exec2', 'silent! command Diffcoder', { output = true }).output:match('Diffcoder'),
    'Diffcoder'
  )
  local messages = vim.tbl_filter(function(message)
    return message ~= '' and not vim.startswith(message, 'vim.pack: ')
  end, vim.split(child:messages(), '\n'))
  t.equal(messages, {}, 'messages')
end

--- The `n`th lua block below a heading of this plugin's README, so that what it says is what is tested.
local function of_readme(file, heading, n)
  local text = table.concat(vim.fn.readfile(file), '\n')
  local from = assert(text:find(heading, 1, true), 'no ' .. heading .. ' in ' .. file)
  local block
  for _ = 1, n or 1 do
    local first, last = text:find('```lua\n.-\n```', from)
    block, from = text:sub(assert(first, 'no lua block') + 7, last - 4), last
  end
  return block
end

local readme = plugin .. '/README.md'

do
  local place = home(of_readme(readme, '### Plain packages'))
  vim.fn.mkdir(place.dir .. '/data/nvim/site/pack/diffcoder/start', 'p')
  vim.uv.fs_symlink(plugin, place.dir .. '/data/nvim/site/pack/diffcoder/start/diffcoder')
  t.test('plain packages, as in the README', place.spec, suggests)
end

do
  local place = home("vim.lsp.enable('diffcoder')")
  vim.fn.mkdir(place.dir .. '/data/nvim/site/pack/diffcoder/opt', 'p')
  vim.uv.fs_symlink(plugin, place.dir .. '/data/nvim/site/pack/diffcoder/opt/diffcoder')
  t.test('an optional package after :packadd', place.spec, function(child)
    child:api('nvim_command', 'packadd diffcoder')
    suggests(child)
  end)
end

--- A repository with the plugin in `editors/nvim`, as a package manager clones it.
local function repository()
  local dir = vim.fn.tempname()
  vim.fn.mkdir(dir .. '/editors', 'p')
  local function run(...)
    local result = vim.system({ ... }, { text = true, cwd = dir }):wait()
    assert(result.code == 0, result.stderr)
  end
  run('cp', '-R', plugin, dir .. '/editors/nvim')
  run('git', 'init', '-q', '-b', 'main')
  run('git', 'add', '-A')
  run('git', '-c', 'user.name=Tester', '-c', 'user.email=tester@example.invalid', 'commit', '-q', '-m', 'All')
  return dir
end

if t.at_least(12) then
  local init = of_readme(readme, '### vim.pack'):gsub("'[^']*OWNER/diffcoder'", "'file://" .. repository() .. "'")
  -- The question whether to install has nobody to answer it here.
  local place = home((init:gsub('vim%.pack%.add%((%b{}), {', 'vim.pack.add(%1, { confirm = false,')))
  t.test('vim.pack, as in the README', place.spec, suggests)
end

--- lazy.nvim is in no package registry. This does what its loader does with a plugin that starts at once: the folder
--- goes into 'runtimepath', its plugin files are sourced, then `config(plugin, opts)` runs, or `setup(opts)`.
local lazy_stand_in = [[
  local function load_spec(spec, dir)
    local plugin = { name = 'diffcoder', dir = spec.dir or dir }
    vim.opt.runtimepath:prepend(plugin.dir)
    for _, file in ipairs(vim.fn.glob(plugin.dir .. '/plugin/*.lua', false, true)) do vim.cmd.source(file) end
    if type(spec.config) == 'function' then
      spec.config(plugin, spec.opts or {})
    else
      require(spec.main or 'diffcoder').setup(spec.opts or {})
    end
  end
]]

do
  local spec = of_readme(readme, '### lazy.nvim')
  local place = home(lazy_stand_in .. 'load_spec(\n' .. spec .. ", '" .. repository() .. "')")
  t.test("the spec for lazy.nvim from a clone of the repository, by its loader's steps", place.spec, suggests)
end

do
  local spec = of_readme(readme, '### lazy.nvim', 2):gsub("dir = '[^']*'", "dir = '" .. plugin .. "'")
  local place = home(lazy_stand_in .. 'load_spec(\n' .. spec .. ')')
  t.test("the spec for lazy.nvim from a folder, by its loader's steps", place.spec, suggests)
end

if t.at_least(12) then
  local place = home(of_readme(root .. '/README.md', 'plugin in Neovim 0.12'))
  t.test("the snippet of the repository's README, without the plugin", place.spec, function(child)
    child:open(fixtures.budget())
    child:type(fixtures.BUDGET_LINE .. 'GA')
    local ghost = child:wait_for_ghost()
    local line = child:line()
    child:type('<Tab>')
    t.wait('it is accepted', function()
      return child:line() == line .. vim.split(ghost, '\n')[1]
    end)
  end)
end
