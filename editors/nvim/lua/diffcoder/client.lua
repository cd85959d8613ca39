--- The server's client: which one serves a buffer, and what happens when it dies.

local config = require('diffcoder.config')

local M = {}

--- Name of the configuration in `lsp/diffcoder.lua`.
M.name = 'diffcoder'

--- By client id: its configuration and its buffers, which the client itself has forgotten by the time it has exited.
---@type table<integer, { config: vim.lsp.ClientConfig, buffers: table<integer, true>, restart?: boolean }>
local known = {}

--- Deaths since the user last asked for a server.
local deaths = 0

---@param message string
---@param level? integer
function M.notify(message, level)
  vim.notify('diffcoder: ' .. message, level or vim.log.levels.INFO)
end

--- The client that suggests in `buf`.
---@param buf integer
---@return vim.lsp.Client?
function M.for_suggestions(buf)
  return vim.lsp.get_clients({ bufnr = buf, name = M.name })[1]
end

--- What a server says of itself under `experimental.diffcoder`; older ones know less.
---@alias diffcoder.Ability 'infill'|'score'|'holes'|'status'|'seen'|'rewrite'

local lacks = {
  infill = 'fill ranges',
  score = 'show a heat map',
  holes = 'find holes',
  status = 'unload its model',
  rewrite = 'follow instructions',
}

--- Whether the server behind `client` can do that; if it says why not, that.
---@param client vim.lsp.Client
---@param ability diffcoder.Ability
---@return boolean|string
function M.can(client, ability)
  local said = vim.tbl_get(client.server_capabilities or {}, 'experimental', 'diffcoder', ability)
  return said == true or (type(said) == 'table' and type(said.disabled) == 'string' and said.disabled) or false
end

--- The client that can do that in `buf`, or the reason why there is none.
---@param buf integer
---@param ability diffcoder.Ability
---@return vim.lsp.Client?
---@return string?
function M.for_ability(buf, ability)
  local reason
  for _, client in ipairs(vim.lsp.get_clients({ bufnr = buf })) do
    local can = M.can(client, ability)
    if can == true then
      return client
    end
    reason = can or reason
  end
  if reason then
    return nil, reason
  end
  if M.for_suggestions(buf) then
    return nil, ('this server is too old to %s; install a newer diffcoder-lsp'):format(lacks[ability])
  end
  return nil, 'no server is attached to this buffer; :checkhealth diffcoder says why'
end

---@param client vim.lsp.Client
---@param buf integer
function M.attached(client, buf)
  local entry = known[client.id] or { config = client.config, buffers = {} }
  entry.buffers[buf] = true
  known[client.id] = entry
end

---@param entry { config: vim.lsp.ClientConfig, buffers: table<integer, true> }
local function start_again(entry)
  for buf in pairs(entry.buffers) do
    if vim.api.nvim_buf_is_loaded(buf) then
      vim.lsp.start(entry.config, { bufnr = buf })
    end
  end
end

--- Called by Neovim when a server's process has ended.
---@param code integer
---@param signal integer
---@param client_id integer
function M.exited(code, signal, client_id)
  local entry = known[client_id]
  known[client_id] = nil
  if not entry or vim.v.exiting ~= vim.NIL then
    return
  end
  if entry.restart then
    vim.schedule(function()
      start_again(entry)
    end)
    return
  end
  -- SIGTERM is how Neovim itself ends a server that does not answer.
  if (code == 0 and signal == 0) or signal == 15 or code == 143 then
    return
  end
  deaths = deaths + 1
  local cause = signal ~= 0 and ('signal %d'):format(signal) or ('exit code %d'):format(code)
  vim.schedule(function()
    if deaths > config.values.restarts then
      M.notify(('the server died (%s); :Diffcoder restart starts it again'):format(cause), vim.log.levels.ERROR)
      return
    end
    M.notify(('the server died (%s) and is started again'):format(cause), vim.log.levels.WARN)
    start_again(entry)
  end)
end

--- Takes the model of this buffer's server out of memory, or loads it again.
---@param loaded boolean
function M.set_loaded(loaded)
  local client, reason = M.for_ability(vim.api.nvim_get_current_buf(), 'status')
  if not client then
    M.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  client:request(loaded and 'diffcoder/reload' or 'diffcoder/unload', nil, function(err)
    if err then
      M.notify(err.message, vim.log.levels.ERROR)
    else
      M.notify(loaded and 'the model is loaded' or 'the model is unloaded; the next request loads it')
    end
  end)
end

--- Ends every server of ours and starts it again for the same buffers; without one, starts it.
function M.restart()
  deaths = 0
  local clients = vim.lsp.get_clients({ name = M.name })
  if #clients == 0 then
    vim.lsp.enable(M.name)
    return
  end
  for _, client in ipairs(clients) do
    if known[client.id] then
      known[client.id].restart = true
    end
    client:stop()
    vim.defer_fn(function()
      if not client:is_stopped() then
        client:stop(true)
      end
    end, 2000)
  end
end

return M
