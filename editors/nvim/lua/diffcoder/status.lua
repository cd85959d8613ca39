--- What the server is doing for a buffer, for status lines.

local client_of = require('diffcoder.client')

local M = {}

--- Suggestions under way, by buffer and then by client and request.
---@type table<integer, table<string, true>>
local pending = {}

---@type table<integer, 'running'|'ready'>
local infills = {}

--- What servers say of their models, by client.
---@type table<integer, { state: string, model: string, device: string, memoryBytes: integer, lastReason?: string }>
local models = {}

local function redraw()
  vim.schedule(function()
    vim.cmd.redrawstatus({ bang = true })
  end)
end

---@param buf integer
---@param state 'running'|'ready'|nil
function M.set_infill(buf, state)
  infills[buf] = state
  redraw()
end

--- Follows the requests that Neovim sends, its own inline completion's among them.
---@param group integer
function M.listen(group)
  vim.api.nvim_create_autocmd('LspRequest', {
    group = group,
    callback = function(event)
      local request, client = event.data.request, vim.lsp.get_client_by_id(event.data.client_id)
      local ours = client and client.name == client_of.name
      if not ours or request.method ~= 'textDocument/inlineCompletion' then
        return
      end
      local key = ('%d:%d'):format(event.data.client_id, event.data.request_id)
      local of_buffer = pending[request.bufnr] or {}
      of_buffer[key] = request.type == 'pending' or nil
      pending[request.bufnr] = next(of_buffer) and of_buffer or nil
      redraw()
    end,
  })
  vim.lsp.handlers['$/diffcoder/status'] = function(_, model, context)
    models[context.client_id] = model
    redraw()
  end
  vim.api.nvim_create_autocmd({ 'LspDetach', 'BufUnload' }, {
    group = group,
    callback = function(event)
      pending[event.buf] = nil
    end,
  })
end

--- What the server of `buf` last said of its model: name, device, memory, and why it showed nothing.
---@param buf? integer
---@return { state: string, model: string, device: string, memoryBytes: integer, lastReason?: string }?
function M.model(buf)
  local client = client_of.for_suggestions(buf or vim.api.nvim_get_current_buf())
  return client and models[client.id]
end

local texts = {
  off = '',
  idle = 'diffcoder',
  suggesting = 'diffcoder ░▒',
  infilling = 'diffcoder ░▒▓',
  ready = 'diffcoder ✓',
  loading = 'diffcoder …',
  unloaded = 'diffcoder ○',
  failed = 'diffcoder ✗',
}

--- One of `off` (no server), `idle`, `suggesting`, `infilling`, `ready` (a fill waits to be accepted), and where the
--- server tells it `loading`, `unloaded` and `failed`.
---@param buf? integer
---@return string
function M.state(buf)
  buf = buf and buf ~= 0 and buf or vim.api.nvim_get_current_buf()
  if infills[buf] then
    return infills[buf] == 'ready' and 'ready' or 'infilling'
  end
  if not client_of.for_suggestions(buf) then
    return 'off'
  end
  local model = M.model(buf)
  if model and texts[model.state] and model.state ~= 'idle' then
    return model.state
  end
  return pending[buf] and 'suggesting' or 'idle'
end

--- The state as a few characters; empty without a server.
---@param buf? integer
---@return string
function M.text(buf)
  return texts[M.state(buf)]
end

return M
