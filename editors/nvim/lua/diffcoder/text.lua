--- Text and positions, without a buffer: pieces of a suggestion, lines of a preview, LSP positions.

local M = {}

--- What "accept word" takes from the front of `text`: blanks, then a run of word characters or a run of others.
--- Line ends stay out unless they come first.
---@param text string
---@return string
function M.word(text)
  local blank = text:match('^%s*') or ''
  local rest = text:sub(#blank + 1)
  if rest == '' then
    return text
  end
  -- Bytes above 0x7f belong to letters of other scripts and to emoji: a word is never cut inside a character.
  local word = rest:match('^[%w_\128-\255]+') or rest:match('^[^%w_%s\128-\255]+')
  return blank .. word
end

--- What "accept line" takes: up to the end of the first line that has something on it.
---@param text string
---@return string
function M.line(text)
  return text:match('^%s*\n[^\n]*') or text:match('^[^\n]*')
end

--- Without carriage returns: a buffer has none, whatever line ends its file has.
---@param text string
---@return string
function M.with_buffer_line_ends(text)
  return (text:gsub('\r\n?', '\n'))
end

--- The part of a suggestion's first line to draw. A suggestion that replaces text right of the cursor often ends
--- with that very text, an auto-closed bracket say, and drawing it would show it twice.
---@param rest string what is left of the suggestion
---@param replaced string the text right of the cursor that it replaces
---@return string
function M.without_replaced(rest, replaced)
  if replaced ~= '' and not rest:find('\n', 1, true) and vim.endswith(rest, replaced) then
    return rest:sub(1, #rest - #replaced)
  end
  return rest
end

--- `text` with its tabs as blanks, since virtual text does not expand them. `column` is the cell where it begins.
---@param text string
---@param column integer
---@param tabstop integer
---@return string
function M.expand_tabs(text, column, tabstop)
  local out = {}
  for piece, tab in text:gmatch('([^\t]*)(\t?)') do
    out[#out + 1] = piece
    column = column + vim.api.nvim_strwidth(piece)
    if tab ~= '' then
      local width = tabstop - column % tabstop
      out[#out + 1] = (' '):rep(width)
      column = column + width
    end
  end
  return table.concat(out)
end

--- Cuts `{ text, highlight }` chunks at line ends into lines of chunks, ready for virtual text.
---@param chunks [string, string][]
---@param column integer the cell where the first line begins
---@param tabstop integer
---@return [string, string][][]
function M.chunk_lines(chunks, column, tabstop)
  local lines = { {} }
  for _, chunk in ipairs(chunks) do
    for i, piece in ipairs(vim.split(M.with_buffer_line_ends(chunk[1]), '\n', { plain = true })) do
      if i > 1 then
        lines[#lines + 1] = {}
        column = 0
      end
      if piece ~= '' then
        local shown = M.expand_tabs(piece, column, tabstop)
        column = column + vim.api.nvim_strwidth(shown)
        table.insert(lines[#lines], { shown, chunk[2] })
      end
    end
  end
  return lines
end

--- A byte column of `line` as an LSP character.
---@param line string
---@param col integer bytes from the line's start
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return integer
function M.character(line, col, encoding)
  return vim.str_utfindex(line, encoding, math.min(col, #line), false)
end

return M
