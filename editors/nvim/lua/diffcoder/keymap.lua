--- Keys that are ours only for a while or only sometimes, and whatever they meant before.

local M = {}

--- Sends what `lhs` did before us. For use in a mapping with `expr`.
---@param lhs string
---@param prior table a dictionary of `maparg()`, empty if there was no mapping
---@return string keys to type
local function prior_meaning(lhs, prior)
  if vim.tbl_isempty(prior) then
    return lhs
  end
  if prior.expr == 1 then
    local keys = prior.callback and prior.callback() or vim.api.nvim_eval(prior.rhs)
    return type(keys) == 'string' and keys or ''
  end
  if prior.callback then
    vim.schedule(prior.callback)
  else
    local keys = vim.api.nvim_replace_termcodes(prior.rhs or '', true, true, true)
    vim.api.nvim_feedkeys(keys, prior.noremap == 1 and 'in' or 'im', false)
  end
  return ''
end

--- Maps `lhs` in insert mode of `buf` to `act`; where that returns false, the key does what it did before.
---@param buf integer
---@param lhs string|false
---@param act fun(): boolean
---@param desc string
function M.insert(buf, lhs, act, desc)
  if not lhs then
    return
  end
  local prior = vim.api.nvim_buf_call(buf, function()
    return vim.fn.maparg(lhs, 'i', false, true)
  end)
  if prior.desc == desc then
    return -- ours already: a server was started again
  end
  vim.keymap.set('i', lhs, function()
    return act() and '' or prior_meaning(lhs, prior)
  end, { buffer = buf, expr = true, desc = desc })
end

--- Maps keys of normal mode in `buf`; the function that comes back puts the earlier mappings in place again.
---@param buf integer
---@param keys { [1]: string|false, [2]: fun(), [3]: string }[] key, action, description
---@return fun()
function M.borrow(buf, keys)
  local borrowed = {}
  for _, key in ipairs(keys) do
    local lhs, act, desc = key[1], key[2], key[3]
    if lhs then
      local prior = vim.api.nvim_buf_call(buf, function()
        return vim.fn.maparg(lhs, 'n', false, true)
      end)
      borrowed[#borrowed + 1] = { lhs = lhs, prior = prior.buffer == 1 and prior or nil }
      vim.keymap.set('n', lhs, act, { buffer = buf, nowait = true, desc = desc })
    end
  end
  return function()
    if not vim.api.nvim_buf_is_valid(buf) then
      return
    end
    for _, key in ipairs(borrowed) do
      pcall(vim.keymap.del, 'n', key.lhs, { buffer = buf })
      if key.prior then
        vim.api.nvim_buf_call(buf, function()
          vim.fn.mapset('n', false, key.prior)
        end)
      end
    end
  end
end

return M
