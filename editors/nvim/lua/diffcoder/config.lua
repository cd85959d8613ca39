--- The options: their defaults, and the check that tells a misspelt one from a good one.

local M = {}

--- What an option may be: a default and a test of it. A table without `check` is a group of options.
local function option(default, check, expected)
  return { default = default, check = check, expected = expected }
end

local function one_of(default, values)
  return option(default, function(value)
    return vim.list_contains(values, value)
  end, 'one of ' .. table.concat(values, ', '))
end

local function of_type(default, kind)
  return option(default, function(value)
    return type(value) == kind
  end, 'a ' .. kind)
end

local function count(default, least, most)
  local expected = most and ('a whole number from %d to %d'):format(least, most)
    or ('a whole number, at least %d'):format(least)
  return option(default, function(value)
    return type(value) == 'number' and value % 1 == 0 and value >= least and (not most or value <= most)
  end, expected)
end

local function key(default)
  return option(default, function(value)
    return value == false or (type(value) == 'string' and value ~= '')
  end, 'a key such as "<Tab>", or false')
end

local function strings()
  return option(nil, function(value)
    return vim.islist(value)
      and #value > 0
      and vim.iter(value):all(function(item)
        return type(item) == 'string'
      end)
  end, 'a list of strings')
end

local spec = {
  cmd = strings(),
  filetypes = strings(),
  restarts = count(3, 0),
  suggestion = {
    enabled = of_type(true, 'boolean'),
    engine = one_of('auto', { 'auto', 'core', 'plugin' }),
    debounce_ms = count(150, 0),
    keys = {
      accept = key('<Tab>'),
      accept_word = key('<M-Right>'),
      accept_line = key('<M-Down>'),
      next = key('<M-]>'),
      previous = key('<M-[>'),
      dismiss = key('<C-]>'),
    },
  },
  infill = {
    preview = of_type(true, 'boolean'),
    frames = of_type(true, 'boolean'),
    mode = one_of('joint', { 'joint', 'independent' }),
    alternatives = count(1, 1, 8),
    max_tokens = count(nil, 1),
    max_lines = count(nil, 1),
    steps = count(nil, 1),
    seed = count(nil, 0),
    threshold = of_type(nil, 'number'),
    order = one_of(nil, { 'model', 'leftToRight', 'surestFirst' }),
    temperature = of_type(nil, 'number'),
    keys = {
      accept = key('<Tab>'),
      reject = key('<Esc>'),
      next = key('<M-]>'),
      previous = key('<M-[>'),
    },
  },
}

local function is_option(node)
  return node.check ~= nil
end

local function defaults_of(group)
  local values = {}
  for name, node in pairs(group) do
    if is_option(node) then
      values[name] = node.default
    else
      values[name] = defaults_of(node)
    end
  end
  return values
end

local function problems_of(group, values, path, found)
  for name, value in pairs(values) do
    local node, place = group[name], path .. tostring(name)
    if not node then
      local known = vim.tbl_keys(group)
      table.sort(known)
      found[#found + 1] = ('%s is no option; there are %s'):format(place, table.concat(known, ', '))
    elseif is_option(node) then
      if not node.check(value) then
        found[#found + 1] = ('%s must be %s, not %s'):format(place, node.expected, vim.inspect(value))
      end
    elseif type(value) ~= 'table' then
      found[#found + 1] = ('%s must be a table, not %s'):format(place, vim.inspect(value))
    else
      problems_of(node, value, place .. '.', found)
    end
  end
  return found
end

--- One sentence for each thing wrong with `values`, sorted; empty if they are fine.
---@param values table
---@return string[]
function M.problems(values)
  local found = problems_of(spec, values, '', {})
  table.sort(found)
  return found
end

---@return table
function M.defaults()
  return defaults_of(spec)
end

--- The options in force.
M.values = M.defaults()

--- Puts `values` over the defaults.
---@param values? table
function M.set(values)
  values = values or {}
  local problems = M.problems(values)
  if #problems > 0 then
    error('diffcoder: ' .. table.concat(problems, '; '), 0)
  end
  M.values = vim.tbl_deep_extend('force', M.defaults(), values)
end

return M
