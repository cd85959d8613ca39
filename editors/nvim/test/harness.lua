--- Tests in a child Neovim that is driven over RPC: keys go through `nvim_input()`, so insert mode, timers, mappings
--- and autocommands are the real ones, and the screen is read back cell by cell.

local M = { suite = '' }

local TIMEOUT_MS = 30000

local n_run, n_failed, started = 0, 0, vim.uv.hrtime()
local version = vim.version()
local label = ('%d.%d'):format(version.major, version.minor)

--- Polls `condition` until it returns something true, and returns that.
function M.wait(what, condition, timeout_ms)
  local result
  local done = vim.wait(timeout_ms or TIMEOUT_MS, function()
    result = condition()
    return result
  end, 20)
  if not done then
    error('timeout: ' .. what, 2)
  end
  return result
end

--- Long texts are cut to the lines around their first difference.
function M.equal(actual, expected, what)
  if not vim.deep_equal(actual, expected) then
    if type(actual) == 'string' and type(expected) == 'string' then
      local at = 1
      while actual:byte(at) == expected:byte(at) do
        at = at + 1
      end
      local from = math.max(1, at - 200)
      actual, expected = actual:sub(from, at + 200), expected:sub(from, at + 200)
    end
    local text = ('%s: expected %s, got %s'):format(what or 'value', vim.inspect(expected), vim.inspect(actual))
    error(text, 2)
  end
end

--- Process ids whose environment has `NAME=value`.
function M.processes(name, value)
  local found = {}
  for entry in vim.fs.dir('/proc') do
    local pid = tonumber(entry)
    local file = pid and pid ~= vim.fn.getpid() and io.open(('/proc/%d/environ'):format(pid), 'rb')
    if file then
      local environment = '\0' .. (file:read('*a') or '') .. '\0'
      file:close()
      if environment:find(('\0%s=%s\0'):format(name, value), 1, true) then
        found[#found + 1] = pid
      end
    end
  end
  return found
end

--- Processor time that a process has used, in clock ticks.
function M.cpu_ticks(pid)
  local file = assert(io.open(('/proc/%d/stat'):format(pid)))
  local fields = vim.split(file:read('*a'):match('%) (.*)'), ' ')
  file:close()
  return tonumber(fields[12]) + tonumber(fields[13])
end

---@class Child
local Child = {}
Child.__index = Child

--- Starts a Neovim with the plugin. `options` go to `setup()`; `scripted` runs `scripted_server.lua` in place of the
--- server; `bare` leaves out the test's init.lua, with `arguments` in its place.
function M.child(spec)
  spec = spec or {}
  local here = vim.fs.dirname(debug.getinfo(1, 'S').source:sub(2))
  local self = setmetatable({ id = ('%s-%s-%d'):format(vim.env.EDITOR_TEST_TEST_RUN, label, vim.uv.hrtime()) }, Child)
  local command = { vim.env.NVIM_UNDER_TEST, '-n', '--headless', '--embed', '--cmd', 'set columns=100 lines=24' }
  vim.list_extend(command, spec.bare and spec.arguments or { '--clean', '-u', here .. '/init.lua' })
  local env = vim.tbl_extend('force', {
    EDITOR_TEST_TEST_CHILD = self.id,
    EDITOR_TEST_OPTIONS = vim.json.encode(spec.options or vim.empty_dict()),
    EDITOR_TEST_SCRIPTED = spec.scripted and here .. '/scripted_server.lua' or '',
    DIFFCODER_LOG = 'error',
  }, spec.env or {})
  self.job = vim.fn.jobstart(command, { rpc = true, env = env, stderr_buffered = true })
  assert(self.job > 0, 'the child does not start')
  return self
end

function Child:api(method, ...)
  return vim.rpcrequest(self.job, method, ...)
end

--- Runs Lua code in the child; `...` in it are the arguments.
function Child:lua(code, ...)
  return self:api('nvim_exec_lua', code, { ... })
end

function Child:type(keys)
  self:api('nvim_input', keys)
end

function Child:lines()
  return self:api('nvim_buf_get_lines', 0, 0, -1, true)
end

function Child:line()
  return self:api('nvim_get_current_line')
end

function Child:screen()
  return self:lua([[
    vim.cmd.redraw()
    local rows = {}
    for row = 1, vim.o.lines do
      local cells = {}
      for column = 1, vim.o.columns do cells[column] = vim.fn.screenstring(row, column) end
      rows[row] = (table.concat(cells):gsub('%s+$', ''))
    end
    return table.concat(rows, '\n')]])
end

--- All virtual text of the buffer in reading order, lines joined with line ends.
function Child:ghost(highlight)
  return self:lua(
    [[
    local highlight = ...
    local out = {}
    for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, -1, 0, -1, { details = true })) do
      local lines = { mark[4].virt_text or {} }
      vim.list_extend(lines, mark[4].virt_lines or {})
      if mark[4].virt_text or mark[4].virt_lines then
        local text = vim.iter(lines):map(function(chunks)
          return vim.iter(chunks):map(function(chunk)
            return (not highlight or chunk[2] == highlight) and chunk[1] or ''
          end):join('')
        end):join('\n')
        if text ~= '' then out[#out + 1] = text end
      end
    end
    return table.concat(out, '|')]],
    highlight
  )
end

--- Opens a file with this content and waits until a server is attached.
function Child:open(lines, name)
  local file = vim.fs.joinpath(vim.fn.tempname(), name or 'main.rs')
  vim.fn.mkdir(vim.fs.dirname(file), 'p')
  vim.fn.writefile(lines, file)
  self:api('nvim_command', 'edit ' .. vim.fn.fnameescape(file))
  self:wait_for_server()
  return file
end

function Child:wait_for_server()
  M.wait('a server is attached', function()
    return self:lua([[
      local client = vim.lsp.get_clients({ bufnr = 0, name = 'diffcoder' })[1]
      return client ~= nil and client.initialized == true]])
  end)
end

--- Waits for a suggestion on the screen, and returns it.
function Child:wait_for_ghost()
  return M.wait('ghost text', function()
    local text = self:ghost()
    return text ~= '' and text or nil
  end)
end

--- The text that the server has for the buffer.
function Child:server_text()
  return self:lua([[
    local client = vim.lsp.get_clients({ bufnr = 0, name = 'diffcoder' })[1]
    local params = { textDocument = { uri = vim.uri_from_bufnr(0) } }
    return client:request_sync('diffcoder/documentText', params, 20000, vim.api.nvim_get_current_buf()).result.text]])
end

--- Fails unless editor and server hold the same text.
function Child:assert_in_step()
  M.equal(self:server_text(), table.concat(self:lines(), '\n') .. '\n', "the server's text")
end

function Child:messages()
  return self:api('nvim_exec2', 'messages', { output = true }).output
end

function Child:wait_for_message(pattern)
  return M.wait('message ' .. pattern, function()
    return self:messages():find(pattern)
  end)
end

--- The server's process.
function Child:server_pid()
  return M.wait("the server's process", function()
    for _, pid in ipairs(M.processes('EDITOR_TEST_TEST_CHILD', self.id)) do
      local target = vim.uv.fs_readlink(('/proc/%d/exe'):format(pid))
      if target and vim.uv.fs_realpath(vim.env.EDITOR_TEST_SERVER) == target then
        return pid
      end
    end
  end)
end

--- Quits as a user would; fails if a process is left.
function Child:stop()
  pcall(vim.rpcnotify, self.job, 'nvim_command', 'qall!')
  if vim.fn.jobwait({ self.job }, 10000)[1] == -1 then
    vim.fn.jobstop(self.job)
    error('Neovim did not quit')
  end
  M.wait('no process is left', function()
    return #M.processes('EDITOR_TEST_TEST_CHILD', self.id) == 0
  end, 10000)
end

local function report(name, ok, message)
  n_run = n_run + 1
  n_failed = n_failed + (ok and 0 or 1)
  io.write(('%s %s %s: %s\n'):format(ok and 'ok  ' or 'FAIL', label, M.suite, name))
  if not ok then
    io.write(message, '\n')
  end
  io.flush()
end

local function wanted(name)
  local only = vim.env.EDITOR_TEST_ONLY or ''
  return only == '' or (M.suite .. ': ' .. name):find(only, 1, true)
end

--- A test without a child.
function M.unit(name, body)
  if wanted(name) then
    report(name, xpcall(body, debug.traceback))
  end
end

--- A test with a child, which is stopped after it.
function M.test(name, spec, body)
  if not wanted(name) then
    return
  end
  local child = M.child(spec)
  local ok, message = xpcall(body, debug.traceback, child)
  if not ok then
    local alive, screen = pcall(child.screen, child)
    message = tostring(message):sub(1, 4000) .. '\n' .. (alive and screen or '(the child is gone)')
  end
  local stopped, trouble = pcall(child.stop, child)
  report(name, ok and stopped, ok and tostring(trouble) or message)
end

--- Whether the Neovim under test is at least 0.`minor`.
function M.at_least(minor)
  return version.major > 0 or version.minor >= minor
end

function M.finish()
  local left = M.processes('EDITOR_TEST_TEST_RUN', vim.env.EDITOR_TEST_TEST_RUN)
  left = vim.tbl_filter(function(pid)
    local file = io.open(('/proc/%d/cmdline'):format(pid))
    local command = file and file:read('*a') or ''
    if file then
      file:close()
    end
    return command:find('--embed', 1, true) ~= nil or command:find('diffcoder-lsp', 1, true) ~= nil
  end, left)
  M.suite = 'all'
  if (vim.env.EDITOR_TEST_ONLY or '') == '' then
    report('no process is left behind', #left == 0, table.concat(left, ' '))
  end
  local seconds = (vim.uv.hrtime() - started) / 1e9
  io.write(('Neovim %s: %d tests, %d failed, %.0f s\n'):format(tostring(version), n_run, n_failed, seconds))
  os.exit(n_failed == 0 and n_run > 0 and 0 or 1)
end

return M
