#!/bin/sh
# Makes the repository ready to run: a Node.js that is new enough, and the packages of package-lock.json.
#
#   scripts/bootstrap.sh                bring what is missing; quick when nothing is
#   scripts/bootstrap.sh --print-path   the same, then print the folder that must come first in PATH (empty: the system's Node will do)
#
# A Node from the system is used when it is at least the version below; otherwise the one pinned, with its checksum, in scripts/node/
# is installed into .tools/node. Needs npm and, the first time, a package registry. Several may run at once: each
# folder is prepared aside and renamed into place, and only one at a time installs packages.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
need_major=22
need_minor=19
tools="$root/.tools"
stamp="$root/node_modules/.nexus-install"
lock="$tools/install.lock"
tmp=''
have_lock=''

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() {
  printf 'bootstrap: error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '           %s\n' "$line" >&2; done
  exit 1
}
clean_up() {
  [ -z "$tmp" ] || rm -rf "$tmp"
  [ -z "$have_lock" ] || rm -rf "$lock"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Is this binary a Node that runs and is new enough?
new_enough() {
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version#v}
  major=${version%%.*}
  rest=${version#*.}
  minor=${rest%%.*}
  case "$major$minor" in '' | *[!0-9]*) return 1 ;; esac
  [ "$major" -gt "$need_major" ] || { [ "$major" -eq "$need_major" ] && [ "$minor" -ge "$need_minor" ]; }
}

# Prints the folder of the Node that .tools/node holds, if it holds one.
brought_node() {
  for candidate in "$tools"/node/node_modules/node*/bin/node; do
    if [ -x "$candidate" ] && new_enough "$candidate"; then
      dirname -- "$candidate"
      return 0
    fi
  done
  return 1
}

require_npm() {
  command -v npm >/dev/null 2>&1 || fail 'npm was not found.' \
    "Install Node.js with npm (any version from 18 on; a newer Node is brought from there), or Node >= $need_major.$need_minor, and run this again."
}

# Runs npm quietly; its output is shown only when it fails.
run_npm() {
  what=$1
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/nexus-bootstrap.XXXXXX")
  if npm "$@" >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  # npm names the cause first and its usage or log file after it.
  grep -v '^npm warn' "$log" | head -n 20 >&2 || say 'npm said nothing'
  rm -f "$log"
  fail "$what failed (npm's own words are above)." \
    'If it could not reach the registry: check the network or proxy, or point npm at a mirror with "npm config set registry <url>".'
}

bring_node() {
  require_npm
  current=$(node --version 2>/dev/null || echo none)
  say "Node >= $need_major.$need_minor is needed and the system has $current: bringing one into .tools/node (about 50 MB, once)"
  mkdir -p "$tools"
  tmp=$(mktemp -d "$tools/node.XXXXXX")
  cp "$root/scripts/node/package.json" "$root/scripts/node/package-lock.json" "$tmp/"
  (cd "$tmp" && run_npm 'installing Node' ci --ignore-scripts --no-audit --no-fund --loglevel=error) || exit 1
  binary=$(find "$tmp/node_modules" -path '*/node*/bin/node' -type f | head -n 1)
  if [ -z "$binary" ]; then
    # All are optional packages, one for each platform: npm also succeeds when it could fetch none.
    case "$(uname -s)-$(uname -m)" in
      Linux-x86_64 | Linux-aarch64 | Darwin-x86_64 | Darwin-arm64)
        fail 'npm could not fetch Node from its registry.' \
          'Check the network or proxy, or point npm at a mirror with "npm config set registry <url>",' \
          "or install Node >= $need_major.$need_minor yourself (https://nodejs.org); then run this again."
        ;;
      *)
        fail "there is no ready-made Node for $(uname -s) on $(uname -m)." \
          "Install Node >= $need_major.$need_minor yourself (https://nodejs.org) and run this again."
        ;;
    esac
  fi
  new_enough "$binary" || fail "the Node that was brought does not run here ($(uname -s) on $(uname -m))." \
    "On a system without glibc, such as Alpine, install Node >= $need_major.$need_minor from its packages."
  chmod 755 "$tmp"
  # Another bootstrap may have put one in place meanwhile; a folder that holds no usable Node is replaced.
  if ! brought_node >/dev/null; then
    rm -rf "$tools/node.old.$$"
    [ ! -e "$tools/node" ] || mv "$tools/node" "$tools/node.old.$$" 2>/dev/null || true
    mv -T "$tmp" "$tools/node" 2>/dev/null || { [ -e "$tools/node" ] || mv "$tmp" "$tools/node"; } 2>/dev/null || true
    rm -rf "$tools/node.old.$$"
  fi
  brought_node >/dev/null || fail "could not put Node into $tools/node." 'Check that the folder is writable and has 150 MB free.'
}

# The packages in place belong to this lockfile. cksum is POSIX, and enough to notice a change.
wanted_stamp() { cksum <"$root/package-lock.json"; }
packages_ready() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted_stamp)" ]; }

take_lock() {
  mkdir -p "$tools"
  told=''
  nameless=0
  while ! mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || echo '')
    # An owner writes its id at once; a lock that stays without one was left by a process that was killed in between.
    [ -n "$owner" ] || nameless=$((nameless + 1))
    if [ "$nameless" -gt 5 ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; }; then
      # Its process is gone. Renaming is atomic, so only one of those waiting removes it.
      mv "$lock" "$lock.stale.$$" 2>/dev/null && rm -rf "$lock.stale.$$"
      nameless=0
      continue
    fi
    [ -n "$told" ] || say "waiting for another installation (process ${owner:-unknown}; remove .tools/install.lock if there is none)"
    told=yes
    sleep 1
  done
  have_lock=yes
  echo "$$" >"$lock/pid"
}

install_packages() {
  require_npm
  take_lock
  packages_ready && return 0
  say 'installing the packages of package-lock.json (about a minute, once)'
  started=$(date +%s)
  (cd "$root" && run_npm 'installing the packages' ci --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error) || exit 1
  wanted_stamp >"$stamp.$$"
  mv "$stamp.$$" "$stamp"
  # Only for speed: what is not compiled now is compiled at the first start.
  (cd "$root" && node --conditions=nexus-source --disable-warning=ExperimentalWarning scripts/warm.ts) || say 'the server could not be compiled ahead; its first start takes longer'
  say "ready after $(($(date +%s) - started)) s"
}

bin=''
if ! new_enough node; then
  bin=$(brought_node) || {
    bring_node
    bin=$(brought_node)
  }
  PATH="$bin:$PATH"
  export PATH
fi
packages_ready || install_packages
[ "${1:-}" != '--print-path' ] || printf '%s\n' "$bin"
