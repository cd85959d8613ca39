--- Draws a screen as SVG: every cell where Neovim put it, in the colours that Neovim gave it.

local M = {}

local FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 20, 12
--- Advance of a column; text is stretched to it, whatever font the reader has.
local ADVANCE = 8.43
--- The light shade: drawn as a surface, since fonts leave gaps in it.
local MASK, MASK_OPACITY = '░', 0.6
local ESCAPES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;' }

local function hex(color)
  return ('#%06x'):format(color)
end

local function number(value)
  return (('%.2f'):format(value):gsub('%.?0+$', ''))
end

--- Colours and strokes of a highlight.
local function look_of(screen, id)
  local raw = screen.looks[id] or {}
  local foreground = raw.foreground or screen.colors.foreground
  local background = raw.background or screen.colors.background
  if raw.reverse then
    foreground, background = background, foreground
  end
  return {
    foreground = hex(foreground),
    background = background ~= screen.colors.background and hex(background),
    special = hex(raw.special or screen.colors.special),
    weight = raw.bold and 'bold',
    style = raw.italic and 'italic',
    line = raw.undercurl and 'curl'
      or raw.underdotted and 'dots'
      or raw.underdashed and 'dashes'
      or (raw.underline or raw.underdouble) and 'line',
    strikethrough = raw.strikethrough,
  }
end

--- Neighbours in a row that look alike; the second cell of a wide character is empty and belongs to the first.
local function runs_of(screen, row)
  local runs = {}
  local is_mask = false
  for col = 0, screen.width - 1 do
    local cell = screen.rows[row][col]
    local last = runs[#runs]
    local joins = last and last.id == cell.look and is_mask == (cell.text == MASK)
    if cell.text == '' and last then
      last.columns = last.columns + 1
    elseif joins and #cell.text < 3 and #last.last < 3 or joins and is_mask then
      last.text, last.last, last.columns = last.text .. cell.text, cell.text, last.columns + 1
    else
      -- A character of three bytes or more may be wide: it gets a place of its own.
      runs[#runs + 1] = { id = cell.look, col = col, text = cell.text, last = cell.text, columns = 1 }
    end
    is_mask = cell.text == MASK
  end
  return runs
end

local function underline(out, look, x, y, width)
  local dashes = { dots = '1 2', dashes = '4 2' }
  local shape = ('<path d="M%s %sh%s"'):format(number(x), number(y), number(width))
  if look.line == 'curl' then
    local waves = math.max(1, math.floor(width / 4 + 0.5))
    local half = number(width / waves / 2)
    shape = ('<path d="M%s %s'):format(number(x), number(y))
      .. ('q%s -2 %s 0t%s 0'):format(number(width / waves / 4), half, half)
      .. ('t%s 0t%s 0'):format(half, half):rep(waves - 1)
      .. '"'
  end
  local dash = dashes[look.line] and (' stroke-dasharray="%s"'):format(dashes[look.line]) or ''
  out[#out + 1] = ('%s fill="none" stroke="%s"%s/>'):format(shape, look.special, dash)
end

local function draw_run(out, look, run, top)
  local x, width = MARGIN + run.col * ADVANCE, run.columns * ADVANCE
  local rect = ('<rect x="%s" y="%d" width="%s" height="%d" fill="%%s"%%s/>'):format(
    number(x),
    top,
    number(width),
    LINE_HEIGHT
  )
  if look.background then
    out[#out + 1] = rect:format(look.background, '')
  end
  if vim.startswith(run.text, MASK) then
    out[#out + 1] = rect:format(look.foreground, (' fill-opacity="%s"'):format(MASK_OPACITY))
  elseif run.text:find('%S') then
    local attributes = (look.weight and ' font-weight="bold"' or '') .. (look.style and ' font-style="italic"' or '')
    out[#out + 1] = ('<text x="%s" y="%d" fill="%s"%s textLength="%s" xml:space="preserve">%s</text>'):format(
      number(x),
      top + FONT_SIZE + 1,
      look.foreground,
      attributes,
      number(width),
      (run.text:gsub('[&<>]', ESCAPES))
    )
  end
  if look.line then
    underline(out, look, x, top + LINE_HEIGHT - 2.5, width)
  end
  if look.strikethrough then
    local y = number(top + LINE_HEIGHT / 2)
    local path = '<path d="M%s %sh%s" stroke="%s"/>'
    out[#out + 1] = path:format(number(x), y, number(width), look.foreground)
  end
end

local function draw_cursor(out, screen)
  local cursor, colors = screen.cursor, screen.colors
  local x, y = MARGIN + cursor.col * ADVANCE, MARGIN + cursor.row * LINE_HEIGHT
  local width = cursor.shape == 'block' and ADVANCE or 2
  local height = cursor.shape == 'horizontal' and 3 or LINE_HEIGHT
  local rect = '<rect x="%s" y="%d" width="%s" height="%d" fill="%s"/>'
  out[#out + 1] = rect:format(number(x), y + LINE_HEIGHT - height, number(width), height, hex(colors.foreground))
  local text = screen.rows[cursor.row][cursor.col].text
  if cursor.shape == 'block' and text:find('%S') then
    local glyph = '<text x="%s" y="%d" fill="%s">%s</text>'
    local escaped = text:gsub('[&<>]', ESCAPES)
    out[#out + 1] = glyph:format(number(x), y + FONT_SIZE + 1, hex(colors.background), escaped)
  end
end

--- Draws `screen`.
---@param screen Screen
---@return string
function M.draw(screen)
  local width, height = 2 * MARGIN + math.ceil(screen.width * ADVANCE), 2 * MARGIN + screen.height * LINE_HEIGHT
  local font = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
  local head = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
  local out = {
    (head .. 'font-family="%s" font-size="%d">'):format(width, height, width, height, font, FONT_SIZE),
    ('<rect width="%d" height="%d" rx="8" fill="%s"/>'):format(width, height, hex(screen.colors.background)),
  }
  for row = 0, screen.height - 1 do
    for _, run in ipairs(runs_of(screen, row)) do
      draw_run(out, look_of(screen, run.id), run, MARGIN + row * LINE_HEIGHT)
    end
  end
  draw_cursor(out, screen)
  out[#out + 1] = '</svg>\n'
  return table.concat(out, '\n')
end

return M
