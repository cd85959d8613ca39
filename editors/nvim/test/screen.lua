--- The screen of a child as a graphical client sees it: cells and their looks, from Neovim's own UI events.
---
--- A client of its own beside the harness's channel, since Neovim hands `redraw` notifications to no Lua code.

local M = {}

---@class Screen
---@field width integer
---@field height integer
---@field rows { text: string, look: integer }[][] columns and rows from 0, as in the events
---@field looks table<integer, table> attributes of the highlights, by id; 0 is the default
---@field colors { foreground: integer, background: integer, special: integer }
---@field cursor { row: integer, col: integer, shape: string }
---@field is_whole boolean nothing of the last redraw is outstanding
local Screen = {}
Screen.__index = Screen

local on = {}

local function blank_row(width)
  local row = {}
  for col = 0, width - 1 do
    row[col] = { text = ' ', look = 0 }
  end
  return row
end

function on.grid_resize(screen, _, width, height)
  screen.width, screen.height, screen.rows = width, height, {}
  for row = 0, height - 1 do
    screen.rows[row] = blank_row(width)
  end
end

function on.grid_clear(screen)
  on.grid_resize(screen, 1, screen.width, screen.height)
end

function on.grid_line(screen, _, row, col, cells)
  local look
  for _, cell in ipairs(cells) do
    look = cell[2] or look
    for _ = 1, cell[3] or 1 do
      screen.rows[row][col] = { text = cell[1], look = look }
      col = col + 1
    end
  end
end

function on.grid_scroll(screen, _, top, bottom, left, right, by)
  local first, last, step = top, bottom - 1 - by, 1
  if by < 0 then
    first, last, step = bottom - 1, top - by, -1
  end
  for row = first, last, step do
    for col = left, right - 1 do
      screen.rows[row][col] = screen.rows[row + by][col]
    end
  end
end

function on.default_colors_set(screen, foreground, background, special)
  screen.colors = { foreground = foreground, background = background, special = special }
end

function on.hl_attr_define(screen, id, look)
  screen.looks[id] = look
end

function on.grid_cursor_goto(screen, _, row, col)
  screen.cursor.row, screen.cursor.col = row, col
end

function on.mode_info_set(screen, _, modes)
  screen.modes = modes
end

function on.mode_change(screen, _, index)
  screen.cursor.shape = screen.modes[index + 1].cursor_shape or 'block'
end

---@param screen Screen
local function redraw(screen, batches)
  screen.is_whole = false
  for _, batch in ipairs(batches) do
    local handle = on[batch[1]]
    for i = 2, handle and #batch or 0 do
      handle(screen, unpack(batch[i]))
    end
    screen.is_whole = batch[1] == 'flush'
  end
end

--- Attaches to the Neovim that listens at `address`.
---@param address string
---@param width integer
---@param height integer
---@return Screen
function M.attach(address, width, height)
  local screen = setmetatable({ looks = { [0] = {} }, cursor = { row = 0, col = 0, shape = 'block' } }, Screen)
  -- Handles of buffers and windows are of no use here, but the decoder must know their types.
  local handle = function(_, bytes)
    return bytes
  end
  local unpacker = vim.mpack.Unpacker({ ext = { [0] = handle, [1] = handle, [2] = handle } })
  screen.pipe = assert(vim.uv.new_pipe(false))
  screen.pipe:connect(address, function(err)
    assert(not err, err)
    screen.pipe:read_start(function(_, data)
      -- The decoder keeps what is left of a message that is cut here.
      local at = 1
      while data and at <= #data do
        local message
        message, at = unpacker(data, at)
        if message and message[2] == 'redraw' then
          redraw(screen, message[3])
        end
      end
    end)
    local options = { rgb = true, ext_linegrid = true }
    screen.pipe:write(vim.mpack.encode({ 0, 1, 'nvim_ui_attach', { width, height, options } }))
  end)
  return screen
end

--- The text on the screen, a line for each row.
function Screen:text()
  local lines = {}
  for row = 0, (self.height or 0) - 1 do
    local cells = {}
    for col = 0, self.width - 1 do
      cells[#cells + 1] = self.rows[row][col].text
    end
    lines[#lines + 1] = (table.concat(cells):gsub('%s+$', ''))
  end
  return table.concat(lines, '\n')
end

function Screen:close()
  self.pipe:close()
end

return M
