--- Draws fills over a buffer without changing it: the canvas while it is denoised, then the text to accept.

local text = require('diffcoder.text')

local M = {}

local namespace = vim.api.nvim_create_namespace('diffcoder.preview')

--- Tokens that the model was less sure of than this are drawn as unsure.
local SURE = 0.5

--- Masks drawn of a run; a canvas of hundreds would push the code off the screen.
local MOST_MASKS = 12

M.links = {
  DiffcoderSuggestion = vim.fn.hlexists('ComplHint') == 1 and 'ComplHint' or 'NonText',
  DiffcoderHint = vim.fn.hlexists('ComplHintMore') == 1 and 'ComplHintMore' or 'MoreMsg',
  DiffcoderHole = 'Visual',
  DiffcoderMask = 'NonText',
  DiffcoderToken = 'DiffAdd',
  DiffcoderTokenUnsure = 'DiffChange',
  DiffcoderReplaced = 'DiffDelete',
  DiffcoderHeat1 = 'DiagnosticUnderlineHint',
  DiffcoderHeat2 = 'DiagnosticUnderlineInfo',
  DiffcoderHeat3 = 'DiagnosticUnderlineWarn',
  DiffcoderHeat4 = 'DiagnosticUnderlineError',
}

--- Links our highlight groups, where neither a colour scheme nor the user has set them.
function M.define_highlights()
  for name, target in pairs(M.links) do
    vim.api.nvim_set_hl(0, name, { link = target, default = true })
  end
end

--- A frame's cells as chunks of text: committed tokens, and `░` for each mask.
---@param cells ({ text: string, confidence: number } | userdata)[] `vim.NIL` is a mask
---@return [string, string][]
function M.cell_chunks(cells)
  local chunks, n_masks = {}, 0
  local function end_masks()
    if n_masks > 0 then
      local shown = ('░'):rep(math.min(n_masks, MOST_MASKS)) .. (n_masks > MOST_MASKS and '…' or '')
      chunks[#chunks + 1] = { shown, 'DiffcoderMask' }
      n_masks = 0
    end
  end
  for _, cell in ipairs(cells) do
    if type(cell) == 'table' then
      end_masks()
      local sure = (cell.confidence or 1) >= SURE
      chunks[#chunks + 1] = { cell.text, sure and 'DiffcoderToken' or 'DiffcoderTokenUnsure' }
    else
      n_masks = n_masks + 1
    end
  end
  end_masks()
  return chunks
end

--- Draws `chunks` as the fill of a range, in place of what was drawn there before.
---@param buf integer
---@param index integer which of the ranges, from 1
---@param range diffcoder.Range
---@param chunks [string, string][]
function M.draw(buf, index, range, chunks)
  if range.row ~= range.end_row or range.col ~= range.end_col then
    vim.api.nvim_buf_set_extmark(buf, namespace, range.row, range.col, {
      id = 2 * index - 1,
      end_row = range.end_row,
      end_col = range.end_col,
      hl_group = 'DiffcoderReplaced',
    })
  end
  local line = vim.api.nvim_buf_get_lines(buf, range.end_row, range.end_row + 1, false)[1] or ''
  local column = vim.fn.strdisplaywidth(line:sub(1, range.end_col))
  local lines = text.chunk_lines(chunks, column, vim.bo[buf].tabstop)
  vim.api.nvim_buf_set_extmark(buf, namespace, range.end_row, range.end_col, {
    id = 2 * index,
    virt_text = lines[1],
    virt_text_pos = 'inline',
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    hl_mode = 'combine',
  })
end

---@param buf integer
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
