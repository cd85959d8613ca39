---@brief
---
--- diffcoder-lsp fills holes in code with a block-diffusion model on this machine.
---
--- Enable it with `vim.lsp.enable('diffcoder')`, or with `require('diffcoder').setup()`.

---@type vim.lsp.Config
return {
  cmd = { 'diffcoder-lsp' },
  filetypes = { 'rust', 'python' },
  root_markers = { '.git' },
  capabilities = {
    -- Neovim 0.11 does not say so itself: there the plugin asks. A server that did not know would offer a menu as well.
    textDocument = { inlineCompletion = { dynamicRegistration = false } },
    -- The plugin has the command that a rewrite among the code actions calls.
    experimental = { diffcoder = { asksInstruction = true } },
  },
  on_exit = function(code, signal, client_id)
    require('diffcoder.client').exited(code, signal, client_id)
  end,
}
