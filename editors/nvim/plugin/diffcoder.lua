-- Commands, mappings, highlight groups and one autocommand. What they use is loaded when they are used.

if vim.g.loaded_diffcoder then
  return
end
vim.g.loaded_diffcoder = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify_once('diffcoder needs Neovim 0.11 or later', vim.log.levels.ERROR)
  return
end

vim.api.nvim_create_user_command('Diffcoder', function(command)
  require('diffcoder.command').run(command)
end, {
  nargs = '+',
  range = true,
  complete = function(lead, line)
    return require('diffcoder.command').complete(lead, line)
  end,
  desc = 'Fill holes in code with diffcoder',
})

local function plug(modes, name, module, action, desc)
  vim.keymap.set(modes, '<Plug>(diffcoder-' .. name .. ')', function()
    return require(module)[action]()
  end, { desc = 'diffcoder: ' .. desc })
end

plug({ 'n', 'x', 'i' }, 'infill', 'diffcoder.command', 'infill', 'fill the marked ranges, the selection or the cursor')
plug({ 'n', 'x' }, 'rewrite', 'diffcoder.command', 'rewrite', 'rewrite with an instruction')
plug({ 'n', 'x' }, 'repair', 'diffcoder.command', 'repair', 'repair the selection or the line')
plug({ 'n', 'x' }, 'fill', 'diffcoder.command', 'fill', 'fill all holes of the selection or the buffer')
plug({ 'n', 'x' }, 'doc', 'diffcoder.command', 'doc', 'write a doc comment')
plug({ 'n', 'x' }, 'alternatives', 'diffcoder.command', 'alternatives', 'several fills to choose from')
plug({ 'n', 'x' }, 'heat', 'diffcoder.command', 'heat', 'show or hide the heat map')
plug('n', 'heat-next', 'diffcoder.heat', 'next', 'next surprising token')
plug('n', 'heat-previous', 'diffcoder.heat', 'previous', 'previous surprising token')
plug('n', 'heat-choose', 'diffcoder.heat', 'choose', 'replace the token at the cursor')
plug({ 'n', 'x', 'i' }, 'mark', 'diffcoder.command', 'mark', 'mark a range to fill')
plug('n', 'clear', 'diffcoder.command', 'clear', 'forget the marked ranges')
plug('n', 'accept', 'diffcoder.infill', 'accept', 'accept the fill')
plug('n', 'reject', 'diffcoder.infill', 'reject', 'discard the fill')
plug('n', 'next', 'diffcoder.infill', 'next', 'next fill')
plug('n', 'previous', 'diffcoder.infill', 'previous', 'previous fill')
plug('i', 'suggestion-accept', 'diffcoder.suggestion', 'accept', 'accept the suggestion')
plug('i', 'suggestion-accept-word', 'diffcoder.suggestion', 'accept_word', 'accept a word of the suggestion')
plug('i', 'suggestion-accept-line', 'diffcoder.suggestion', 'accept_line', 'accept a line of the suggestion')
plug('i', 'suggestion-next', 'diffcoder.suggestion', 'next', 'next suggestion')
plug('i', 'suggestion-previous', 'diffcoder.suggestion', 'previous', 'previous suggestion')
plug('i', 'suggestion-dismiss', 'diffcoder.suggestion', 'dismiss', 'dismiss the suggestion')

local group = vim.api.nvim_create_augroup('diffcoder', {})
local listening = false

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if not client or client.name ~= 'diffcoder' then
      return
    end
    if not listening then
      listening = true
      require('diffcoder.preview').define_highlights()
      require('diffcoder.infill').listen()
      require('diffcoder.action').listen()
      require('diffcoder.status').listen(group)
      require('diffcoder.seen').listen(group)
    end
    require('diffcoder.attach').attached(client, event.buf)
  end,
})

vim.api.nvim_create_autocmd('ColorScheme', {
  group = group,
  callback = function()
    if listening then
      require('diffcoder.preview').define_highlights()
    end
  end,
})
