--- `:checkhealth diffcoder`.

local M = {}

local health = vim.health

local function check_neovim()
  health.start('Neovim')
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.11') == 0 then
    health.error(version .. ' is too old', { 'Install Neovim 0.11 or later' })
    return
  end
  local engine = require('diffcoder.suggestion').engine()
  health.ok(version)
  health.ok(
    engine == 'core' and 'suggestions are drawn by vim.lsp.inline_completion' or 'suggestions are drawn by this plugin'
  )
end

local function check_server()
  health.start('Server')
  local settings = vim.lsp.config['diffcoder']
  local cmd = settings and settings.cmd
  if type(cmd) == 'function' then
    health.ok('cmd is a function')
    return
  end
  if type(cmd) ~= 'table' then
    health.error('there is no configuration "diffcoder"', { "Put this plugin's folder into 'runtimepath'" })
    return
  end
  if vim.fn.executable(cmd[1]) == 0 then
    health.error(cmd[1] .. ' cannot be run', {
      'Install it with `cargo install --path lsp` in a clone of diffcoder',
      'or name it: require("diffcoder").setup({ cmd = { "/path/to/diffcoder-lsp" } })',
    })
    return
  end
  local ran, result = pcall(function()
    return vim.system({ cmd[1], '--version' }, { text = true }):wait(5000)
  end)
  if ran and result.code == 0 then
    health.ok(vim.fn.exepath(cmd[1]) .. ': ' .. vim.trim(result.stdout))
  else
    health.error(cmd[1] .. ' --version fails: ' .. vim.trim(ran and result.stderr or tostring(result)))
  end
  if not vim.lsp.is_enabled('diffcoder') then
    health.warn('it is not enabled', { "vim.lsp.enable('diffcoder')" })
  else
    health.ok('enabled for ' .. table.concat(settings.filetypes or { 'every file type' }, ', '))
  end
end

local function check_clients()
  health.start('Running servers')
  local clients = vim.lsp.get_clients({ name = 'diffcoder' })
  if #clients == 0 then
    health.info('none; open a file of an enabled type')
  end
  for _, client in ipairs(clients) do
    local n_buffers = vim.tbl_count(client.attached_buffers)
    local what = ('client %d, buffers: %d, positions in %s'):format(client.id, n_buffers, client.offset_encoding)
    local can = require('diffcoder.client').can
    if can(client, 'infill') == true then
      health.ok(what)
    else
      health.warn(what .. '; it cannot fill ranges', { 'Install a newer diffcoder-lsp' })
    end
    local missing = { score = 'heat map', holes = 'repair, fill, doc', rewrite = 'rewrite' }
    for ability, uses in vim.spairs(missing) do
      local answer = can(client, ability)
      if answer ~= true then
        health.info(('not available: %s (%s)'):format(uses, answer or 'this server does not know it'))
      end
    end
  end
end

local function check_keys()
  health.start('Keys')
  local config = require('diffcoder.config')
  local completion = package.loaded['cmp'] and 'nvim-cmp' or package.loaded['blink.cmp'] and 'blink.cmp'
  if completion and config.values.suggestion.keys.accept == '<Tab>' then
    health.warn(completion .. ' may use <Tab> too; whichever maps it last comes first', {
      'require("diffcoder").setup({ suggestion = { keys = { accept = "<C-l>" } } })',
    })
  else
    health.ok('suggestions are accepted with ' .. (config.values.suggestion.keys.accept or '<Plug>'))
  end
end

function M.check()
  check_neovim()
  check_server()
  check_clients()
  check_keys()
end

return M
