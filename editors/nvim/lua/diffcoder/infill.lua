--- Fills ranges of a buffer: one request's life, from its ranges to an edit that one undo takes back.

local client_of = require('diffcoder.client')
local config = require('diffcoder.config')
local keymap = require('diffcoder.keymap')
local preview = require('diffcoder.preview')
local range_of = require('diffcoder.range')
local status = require('diffcoder.status')

local M = {}

local FRAME = '$/diffcoder/frame'
local CONTENT_MODIFIED = -32801
local REQUEST_CANCELLED = -32800

---@class diffcoder.Fill
---@field range lsp.Range
---@field newText string
---@field confidence number

---@class diffcoder.Job
---@field buf integer
---@field client vim.lsp.Client
---@field request_id? integer
---@field token string
---@field tick integer the buffer's `changedtick` that the ranges belong to
---@field ranges diffcoder.Range[]
---@field variants? diffcoder.Fill[][] results, best first; absent while the request runs
---@field shown integer
---@field give_keys_back fun()
---@field augroup integer

--- At most one for each buffer.
---@type table<integer, diffcoder.Job>
local jobs = {}
local n_started = 0

---@param job diffcoder.Job
local function finish(job)
  if jobs[job.buf] ~= job then
    return
  end
  jobs[job.buf] = nil
  if not job.variants and job.request_id and not job.client:is_stopped() then
    job.client:cancel_request(job.request_id)
  end
  job.give_keys_back()
  vim.api.nvim_del_augroup_by_id(job.augroup)
  preview.clear(job.buf)
  status.set_infill(job.buf, nil)
end

---@param job diffcoder.Job
local function show(job)
  local fills = job.variants[job.shown]
  for index, range in ipairs(job.ranges) do
    preview.draw(job.buf, index, range, { { fills[index].newText, 'DiffcoderToken' } })
  end
  local sum = 0
  for _, fill in ipairs(fills) do
    sum = sum + fill.confidence
  end
  local keys = config.values.infill.keys
  local parts = { ('confidence %.0f %%'):format(100 * sum / #fills) }
  if #job.variants > 1 then
    table.insert(parts, 1, ('%d/%d'):format(job.shown, #job.variants))
  end
  if keys.accept and keys.reject then
    parts[#parts + 1] = ('%s accepts, %s discards'):format(keys.accept, keys.reject)
  end
  vim.api.nvim_echo({ { 'diffcoder: ' .. table.concat(parts, ', ') } }, false, {})
  status.set_infill(job.buf, 'ready')
end

---@param job diffcoder.Job
local function apply(job)
  local edits = vim
    .iter(job.variants[job.shown])
    :map(function(fill)
      return { range = fill.range, newText = fill.newText }
    end)
    :totable()
  finish(job)
  range_of.clear_marks(job.buf)
  vim.lsp.util.apply_text_edits(edits, job.buf, job.client.offset_encoding)
end

--- The answer's fills in the order of our ranges; all variants are as long as the ranges are many.
---@param job diffcoder.Job
---@param result { holes: diffcoder.Fill[], alternatives?: diffcoder.Fill[][] }
---@return diffcoder.Fill[][]
local function read_variants(job, result)
  local variants = { result.holes }
  vim.list_extend(variants, result.alternatives or {})
  return vim
    .iter(variants)
    :filter(function(fills)
      return #fills == #job.ranges
    end)
    :totable()
end

---@param job diffcoder.Job
---@param err? lsp.ResponseError
---@param result? table
local function answered(job, err, result)
  if jobs[job.buf] ~= job then
    return
  end
  if err or not result then
    finish(job)
    if err and err.code == CONTENT_MODIFIED then
      client_of.notify('the text changed while it was filled; nothing was inserted')
    elseif err and err.code ~= REQUEST_CANCELLED then
      client_of.notify(err.message, vim.log.levels.ERROR)
    end
    return
  end
  local variants = read_variants(job, result)
  local has_text = vim.iter(variants):any(function(fills)
    return vim.iter(fills):any(function(fill)
      return fill.newText ~= ''
    end)
  end)
  if not has_text then
    finish(job)
    client_of.notify('the model would put nothing there')
    return
  end
  job.variants, job.shown = variants, 1
  if config.values.infill.preview then
    show(job)
  else
    apply(job)
  end
end

---@param job diffcoder.Job
local function watch(job)
  local function on(events, options, callback)
    options.group, options.callback = job.augroup, callback
    vim.api.nvim_create_autocmd(events, options)
  end
  on({ 'TextChanged', 'TextChangedI' }, { buffer = job.buf }, function()
    if vim.api.nvim_buf_get_changedtick(job.buf) ~= job.tick then
      finish(job)
      client_of.notify('the text changed; the fill is discarded')
    end
  end)
  on('BufUnload', { buffer = job.buf }, function()
    finish(job)
  end)
  on('LspDetach', { buffer = job.buf }, function(event)
    if event.data.client_id == job.client.id then
      finish(job)
    end
  end)
end

--- What a request asks for besides the options.
---@class diffcoder.Wish
---@field instruction? string
---@field avoid_draft? boolean
---@field kind? 'docComment'
---@field alternatives? integer

--- Asks the server to fill `ranges` of `buf`, and shows what it makes of them.
---@param buf integer
---@param ranges diffcoder.Range[]
---@param wish? diffcoder.Wish
---@return boolean started
function M.start(buf, ranges, wish)
  wish = wish or {}
  local client, reason = client_of.for_ability(buf, wish.instruction and 'rewrite' or 'infill')
  if not client then
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return false
  end
  if not vim.bo[buf].modifiable then
    client_of.notify('this buffer cannot be changed', vim.log.levels.WARN)
    return false
  end
  local disjoint, overlap = range_of.disjoint(ranges)
  if not disjoint then
    client_of.notify(assert(overlap), vim.log.levels.WARN)
    return false
  end
  if jobs[buf] then
    finish(jobs[buf])
  end
  n_started = n_started + 1
  local options, keys = config.values.infill, config.values.infill.keys
  local job = {
    buf = buf,
    client = client,
    token = ('nvim-%d-%d'):format(vim.fn.getpid(), n_started),
    tick = vim.api.nvim_buf_get_changedtick(buf),
    ranges = disjoint,
    shown = 1,
    augroup = vim.api.nvim_create_augroup('diffcoder.infill.' .. buf, {}),
    give_keys_back = keymap.borrow(buf, {
      { keys.accept, M.accept, 'diffcoder: accept the fill' },
      { keys.reject, M.reject, 'diffcoder: discard the fill' },
      { keys.next, M.next, 'diffcoder: next fill' },
      { keys.previous, M.previous, 'diffcoder: previous fill' },
    }),
  } ---@type diffcoder.Job
  jobs[buf] = job
  watch(job)
  for index, range in ipairs(disjoint) do
    preview.draw(buf, index, range, preview.cell_chunks({ vim.NIL, vim.NIL, vim.NIL }))
  end
  status.set_infill(buf, 'running')
  local line_at = range_of.lines_of(buf)
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    ranges = vim
      .iter(disjoint)
      :map(function(range)
        return range_of.to_lsp(range, line_at, client.offset_encoding)
      end)
      :totable(),
    mode = options.mode,
    alternatives = wish.alternatives or options.alternatives,
    instruction = wish.instruction,
    avoidDraft = wish.avoid_draft,
    kind = wish.kind,
    maxTokens = options.max_tokens,
    maxLines = options.max_lines,
    threshold = options.threshold,
    steps = options.steps,
    order = options.order,
    temperature = options.temperature,
    seed = options.seed,
    frameToken = options.frames and options.preview and job.token or nil,
  }
  local sent, id = client:request('diffcoder/infill', params, function(err, result)
    answered(job, err, result)
  end, buf)
  job.request_id = id
  if not sent then
    finish(job)
    client_of.notify('the server has gone; :Diffcoder restart starts it again', vim.log.levels.WARN)
  end
  return sent
end

--- A picture of the canvas arrived.
---@param frame { token: string|integer, hole: integer, cells: table }
local function on_frame(frame)
  for _, job in pairs(jobs) do
    local range = job.ranges[frame.hole + 1]
    if job.token == frame.token and not job.variants and range then
      preview.draw(job.buf, frame.hole + 1, range, preview.cell_chunks(frame.cells))
    end
  end
end

--- Makes Neovim pass the server's frames to us, whatever the client is called.
function M.listen()
  vim.lsp.handlers[FRAME] = function(_, frame)
    on_frame(frame)
  end
end

local function with_job(act)
  local job = jobs[vim.api.nvim_get_current_buf()]
  if not job then
    client_of.notify('nothing is being filled in this buffer')
    return false
  end
  return act(job)
end

--- Puts the fill that is shown into the buffer; one undo takes it back.
---@return boolean
function M.accept()
  return with_job(function(job)
    if not job.variants then
      client_of.notify('the fill is not ready yet')
      return false
    end
    apply(job)
    return true
  end)
end

--- Discards the fill, or stops the model while it works on it.
---@return boolean
function M.reject()
  return with_job(function(job)
    finish(job)
    vim.api.nvim_echo({ { '' } }, false, {})
    return true
  end)
end

local function step(by)
  return with_job(function(job)
    if not job.variants then
      return false
    end
    job.shown = (job.shown - 1 + by) % #job.variants + 1
    show(job)
    return true
  end)
end

---@return boolean
function M.next()
  return step(1)
end

---@return boolean
function M.previous()
  return step(-1)
end

--- What the fill of `buf` is at: nothing, `running` or `ready`.
---@param buf integer
---@return 'running'|'ready'|nil
function M.state(buf)
  local job = jobs[buf]
  return job and (job.variants and 'ready' or 'running') or nil
end

return M
