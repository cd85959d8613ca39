--- Texts in which the embedded model has something to say.

local M = {}

local function read(path)
  return vim.fn.readfile(vim.fs.joinpath(vim.env.EDITOR_TEST_ROOT, 'tests/fixtures/projects/rust-ledger/src', path))
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

--- A Rust file with two bodies left open, in lines 10 and 14, and a macro in line 29 that nobody has heard of.
M.STUBS = vim.split(
  [[
//! Money in whole cents.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Money {
    cents: i64,
}

impl Money {
    pub fn new(cents: i64) -> Self {
        todo!()
    }

    pub fn is_zero(&self) -> bool {
        todo!()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_money_is_zero() {
        assert!(Money::new(0).is_zero());
    }

    #[test]
    fn some_money_is_not_zero() {
        zebra!(!Money::new(1).is_zero());
    }
}]],
  '\n'
)

--- Three assertions that lack what they assert.
M.VECTORS = vim.split(
  [[
#[test]
fn a_new_vector_is_empty() {
    let numbers: Vec<u32> = Vec::new();
    assert!(numbers.);
}

#[test]
fn a_vector_of_one_is_not_empty() {
    let numbers = vec![1];
    assert!(!numbers.);
}

#[test]
fn a_cleared_vector_is_empty() {
    let mut numbers = vec![1];
    numbers.clear();
    assert!(numbers.);
}]],
  '\n'
)

return M
