--- Texts in which the embedded model has something to say.

local M = {}

local function read(path)
  return vim.fn.readfile(vim.fs.joinpath(vim.env.DIFFCODER_ROOT, 'tests/fixtures/projects/rust-ledger/src', path))
end

--- A Rust file whose line 49 is an assertion without its end.
function M.budget()
  return read('budget.rs')
end

--- Line of the unfinished assertion.
M.BUDGET_LINE = 49

--- `n` lines, with the file above as the last ones.
function M.long(n)
  local tail, lines = M.budget(), {}
  while #lines < n - #tail do
    local i = #lines
    vim.list_extend(lines, {
      ('/// Returns number %d.'):format(i),
      ('pub fn number_%d() -> usize {'):format(i),
      ('    %d'):format(i),
      '}',
      '',
    })
  end
  lines = vim.list_slice(lines, 1, n - #tail)
  return vim.list_extend(lines, tail)
end

return M
