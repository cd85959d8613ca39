--- The lualine component `diffcoder`: what the server is doing for the current buffer.

local Component = require('lualine.component'):extend()

function Component.update_status()
  return require('diffcoder').status()
end

return Component
