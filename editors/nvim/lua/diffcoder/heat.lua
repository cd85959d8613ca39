--- The heat map: tokens highlighted by how likely the model finds them, and what it would rather write.

local client_of = require('diffcoder.client')
local range_of = require('diffcoder.range')

local M = {}

local METHOD = 'diffcoder/score'
local CONTENT_MODIFIED = -32801
local REQUEST_CANCELLED = -32800
local ALTERNATIVES = 8

--- Below each of these probabilities a token is a level hotter; the first level is not highlighted.
local LIMITS = { 0.2, 0.05, 0.01, 0.001 }

--- Lines scored in one request, so that colours come soon and typing is never far behind.
local LINES_AT_ONCE = 80

--- After the last change, since every change moves the likelihoods of what follows.
local PAUSE_MS = 400

local drawn = vim.api.nvim_create_namespace('diffcoder.heat')
local scopes = vim.api.nvim_create_namespace('diffcoder.heat.scope')

---@class diffcoder.Token
---@field range diffcoder.Range
---@field text string
---@field probability number
---@field alternatives { text: string, probability: number }[] others than `text`, the likeliest first

---@class diffcoder.Heat
---@field buf integer
---@field scope? integer extmark around what is highlighted; the whole buffer without one
---@field tokens diffcoder.Token[]
---@field tick integer the buffer's `changedtick` that the tokens belong to
---@field done boolean
---@field request? { client: vim.lsp.Client, id: integer }
---@field timer uv.uv_timer_t
---@field augroup integer
---@type table<integer, diffcoder.Heat>
local heats = {}

--- From 0, likely, to 4, the most surprising.
---@param probability number
---@return integer
function M.level(probability)
  local level = 0
  for i, limit in ipairs(LIMITS) do
    level = probability < limit and i or level
  end
  return level
end

--- A probability for people: whole percent, or how far below one.
---@param probability number
---@return string
function M.percent(probability)
  local percents = 100 * probability
  if percents >= 1 then
    return ('%.0f %%'):format(percents)
  end
  return percents >= 0.1 and ('%.1f %%'):format(percents) or '< 0.1 %'
end

--- Rows from `first` to `last` in pieces, those that meet the visible rows before the others.
---@param first integer
---@param last integer
---@param top integer
---@param bottom integer
---@return [integer, integer][]
function M.pieces(first, last, top, bottom)
  local visible, hidden = {}, {}
  for row = first, last, LINES_AT_ONCE do
    local piece = { row, math.min(row + LINES_AT_ONCE - 1, last) }
    table.insert(piece[2] >= top and piece[1] <= bottom and visible or hidden, piece)
  end
  return vim.list_extend(visible, hidden)
end

--- Tokens as the server sends them, with byte columns and without their own text among the alternatives.
---@param tokens table[]
---@param line_at fun(row: integer): string
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return diffcoder.Token[]
function M.read(tokens, line_at, encoding)
  return vim
    .iter(tokens)
    :map(function(token)
      local range = range_of.from_lsp(token.range, line_at, encoding)
      if range_of.is_empty(range) then
        return nil
      end
      local text = range_of.text(range, line_at)
      local others = vim.tbl_filter(function(other)
        return other.text ~= text and other.text ~= ''
      end, token.alternatives or {})
      table.sort(others, function(a, b)
        return a.probability > b.probability
      end)
      return { range = range, text = text, probability = math.exp(token.logProbability), alternatives = others }
    end)
    :totable()
end

---@param token diffcoder.Token
local function is_hot(token)
  return M.level(token.probability) > 0 and token.text:find('%S') ~= nil
end

---@param heat diffcoder.Heat
local function draw(heat)
  vim.api.nvim_buf_clear_namespace(heat.buf, drawn, 0, -1)
  for _, token in ipairs(heat.tokens) do
    if is_hot(token) then
      local range = token.range
      vim.api.nvim_buf_set_extmark(heat.buf, drawn, range.row, range.col, {
        end_row = range.end_row,
        end_col = range.end_col,
        hl_group = 'DiffcoderHeat' .. M.level(token.probability),
        -- Above the colours of the language server.
        priority = 200,
      })
    end
  end
end

---@param heat diffcoder.Heat
local function stop_request(heat)
  local request = heat.request
  heat.request = nil
  if request and not request.client:is_stopped() then
    request.client:cancel_request(request.id)
  end
end

---@param buf integer
local function remove(buf)
  local heat = heats[buf]
  if not heat then
    return
  end
  heats[buf] = nil
  stop_request(heat)
  heat.timer:close()
  vim.api.nvim_del_augroup_by_id(heat.augroup)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, drawn, 0, -1)
    vim.api.nvim_buf_clear_namespace(buf, scopes, 0, -1)
  end
end

--- What is to be highlighted now: the scope moves with the text.
---@param heat diffcoder.Heat
---@return diffcoder.Range
local function scope_of(heat)
  if heat.scope then
    local mark = vim.api.nvim_buf_get_extmark_by_id(heat.buf, scopes, heat.scope, { details = true })
    return { row = mark[1], col = mark[2], end_row = mark[3].end_row, end_col = mark[3].end_col }
  end
  local last = vim.api.nvim_buf_line_count(heat.buf) - 1
  return { row = 0, col = 0, end_row = last, end_col = #range_of.lines_of(heat.buf)(last) }
end

---@param heat diffcoder.Heat
local function score(heat)
  local buf = heat.buf
  local client, reason = client_of.for_ability(buf, 'score')
  if not client then
    remove(buf)
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  local scope, line_at, tick = scope_of(heat), range_of.lines_of(buf), vim.api.nvim_buf_get_changedtick(buf)
  local top, bottom = vim.fn.line('w0') - 1, vim.fn.line('w$') - 1
  local queue = M.pieces(scope.row, scope.end_row, top, bottom)
  heat.tokens, heat.tick, heat.done = {}, tick, false

  local function step(index)
    local piece = queue[index]
    if not piece then
      heat.done = true
      local n_hot = #vim.tbl_filter(is_hot, heat.tokens)
      vim.api.nvim_echo({ { ('diffcoder: %d surprising tokens'):format(n_hot) } }, false, {})
      return
    end
    local row, end_row = piece[1], piece[2]
    local range = { row = row, col = row == scope.row and scope.col or 0 }
    local is_last = end_row == scope.end_row
    range.end_row = is_last and end_row or end_row + 1
    range.end_col = is_last and scope.end_col or 0
    local params = {
      textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
      range = range_of.to_lsp(range, line_at, client.offset_encoding),
      alternatives = ALTERNATIVES,
    }
    local sent, id
    sent, id = client:request(METHOD, params, function(err, result)
      if heats[buf] ~= heat or not heat.request or heat.request.id ~= id then
        return
      end
      heat.request = nil
      if err and (err.code == CONTENT_MODIFIED or err.code == REQUEST_CANCELLED) then
        return -- the change of the text starts anew
      end
      if err or not result then
        remove(buf)
        client_of.notify(err and err.message or 'the server gave no heat map', vim.log.levels.ERROR)
        return
      end
      vim.list_extend(heat.tokens, M.read(result.tokens, line_at, client.offset_encoding))
      draw(heat)
      step(index + 1)
    end, buf)
    heat.request = sent and { client = client, id = id } or nil
  end
  step(1)
end

---@param heat diffcoder.Heat
local function watch(heat)
  local function on(events, callback)
    local options = { group = heat.augroup, buffer = heat.buf, callback = callback }
    vim.api.nvim_create_autocmd(events, options)
  end
  on({ 'TextChanged', 'TextChangedI', 'TextChangedP' }, function()
    if vim.api.nvim_buf_get_changedtick(heat.buf) == heat.tick then
      return
    end
    stop_request(heat)
    -- The colours move with the text; their numbers are of a text that is gone.
    heat.tokens, heat.done = {}, false
    heat.timer:start(
      PAUSE_MS,
      0,
      vim.schedule_wrap(function()
        if heats[heat.buf] == heat then
          score(heat)
        end
      end)
    )
  end)
  on('BufUnload', function()
    remove(heat.buf)
  end)
  on('LspDetach', function(event)
    local request = heat.request
    if request and request.client.id == event.data.client_id then
      remove(heat.buf)
    end
  end)
end

--- Highlights the selection, or the buffer without one; takes the highlights away if there are any.
---@param selection? diffcoder.Range[]
function M.toggle(selection)
  local buf = vim.api.nvim_get_current_buf()
  if heats[buf] then
    remove(buf)
    return
  end
  local client, reason = client_of.for_ability(buf, 'score')
  if not client then
    client_of.notify(assert(reason), vim.log.levels.WARN)
    return
  end
  local heat = {
    buf = buf,
    tokens = {},
    tick = -1,
    done = false,
    timer = assert(vim.uv.new_timer()),
    augroup = vim.api.nvim_create_augroup('diffcoder.heat.' .. buf, {}),
  }
  if selection then
    local first, last = selection[1], selection[#selection]
    heat.scope = vim.api.nvim_buf_set_extmark(buf, scopes, first.row, first.col, {
      end_row = last.end_row,
      end_col = last.end_col,
      right_gravity = false,
      end_right_gravity = true,
    })
  end
  heats[buf] = heat
  watch(heat)
  score(heat)
end

---@return diffcoder.Heat?
local function current()
  local heat = heats[vim.api.nvim_get_current_buf()]
  if not heat then
    client_of.notify('there is no heat map in this buffer; :Diffcoder heat shows one')
  end
  return heat
end

--- Puts the cursor on the next surprising token, `by` 1, or on the one before, `by` -1.
---@param by 1|-1
local function go(by)
  local heat = current()
  local hot = heat and vim.tbl_filter(is_hot, heat.tokens) or {}
  if #hot == 0 then
    return
  end
  table.sort(hot, function(a, b)
    return a.range.row < b.range.row or (a.range.row == b.range.row and a.range.col < b.range.col)
  end)
  local cursor = range_of.cursor()
  local function is_beyond(token)
    local rows, columns = token.range.row - cursor.row, token.range.col - cursor.col
    return (rows ~= 0 and rows or columns) * by > 0
  end
  local order = by == 1 and hot or vim.iter(hot):rev():totable()
  local token = vim.iter(order):find(is_beyond) or order[1]
  vim.cmd.normal({ "m'", bang = true })
  vim.api.nvim_win_set_cursor(0, { token.range.row + 1, token.range.col })
end

function M.next()
  go(1)
end

function M.previous()
  go(-1)
end

--- Lists what the model would rather have at the cursor, and puts the choice in.
function M.choose()
  local heat = current()
  if not heat then
    return
  end
  local cursor = range_of.cursor()
  local token = vim.iter(heat.tokens):find(function(token)
    return range_of.contains(token.range, cursor.row, cursor.col)
  end)
  if not token then
    client_of.notify(heat.done and 'the model has nothing else for this place' or 'the heat map is not ready yet')
    return
  end
  local prompt = ('%s: %s'):format(vim.inspect(token.text), M.percent(token.probability))
  local format_item = function(other)
    return ('%s  %s'):format(vim.inspect(other.text), M.percent(other.probability))
  end
  vim.ui.select(token.alternatives, { prompt = prompt, format_item = format_item }, function(choice)
    if not choice then
      return
    end
    if vim.api.nvim_buf_get_changedtick(heat.buf) ~= heat.tick then
      client_of.notify('the text has changed; nothing was replaced')
      return
    end
    local range, lines = token.range, vim.split(choice.text, '\n', { plain = true })
    vim.api.nvim_buf_set_text(heat.buf, range.row, range.col, range.end_row, range.end_col, lines)
  end)
end

--- What the heat map of `buf` is at: nothing, `running` or `ready`.
---@param buf integer
---@return 'running'|'ready'|nil
function M.state(buf)
  local heat = heats[buf]
  return heat and (heat.done and 'ready' or 'running') or nil
end

return M
