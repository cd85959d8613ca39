--- A language server inside Neovim, whose answers the test decides: `_G.script[method] = function(params, server)`
--- returns a result, or `nil` and an error, or `server.later` to answer by `server.reply()` at its own time.

_G.script = {}
_G.script_log = {}

return function(dispatchers)
  local closing, last_id = false, 0
  local later = {}

  local function respond(callback, result, err)
    vim.schedule(function()
      callback(err, result)
    end)
  end

  return {
    request = function(method, params, callback, on_done)
      last_id = last_id + 1
      local id = last_id
      table.insert(_G.script_log, { method = method, params = params })
      local function finish(err, result)
        if on_done then
          on_done(id)
        end
        callback(err, result)
      end
      if method == 'initialize' then
        respond(finish, {
          capabilities = {
            positionEncoding = 'utf-16',
            textDocumentSync = { openClose = true, change = 2 },
            inlineCompletionProvider = true,
            codeActionProvider = { resolveProvider = true },
            experimental = not vim.env.EDITOR_TEST_OLD and {
              diffcoder = {
                infill = true,
                score = true,
                holes = true,
                status = true,
                seen = true,
                rewrite = not vim.env.EDITOR_TEST_REASON or { disabled = vim.env.EDITOR_TEST_REASON },
              },
            } or nil,
          },
        })
        return true, id
      elseif method == 'shutdown' then
        respond(finish, vim.NIL)
        return true, id
      end
      local server = {
        later = later,
        notify = dispatchers.notification,
        reply = function(result, err)
          respond(finish, result, err)
        end,
      }
      local answer = _G.script[method] or function()
        return {}
      end
      local result, err = answer(params, server)
      if result ~= later then
        respond(finish, result, err)
      end
      return true, id
    end,
    notify = function(method, params)
      table.insert(_G.script_log, { method = method, params = params })
      if method == 'exit' then
        closing = true
        dispatchers.on_exit(0, 0)
      end
      return true
    end,
    is_closing = function()
      return closing
    end,
    terminate = function()
      closing = true
      dispatchers.on_exit(0, 15)
    end,
  }
end
