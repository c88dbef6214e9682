#!/bin/sh
# Runs a command with the repository's Node.js first in PATH, after bringing whatever is missing:
#
#   scripts/with-node.sh npx vitest run
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
bin=$(sh "$here/bootstrap.sh" --print-path)
[ -z "$bin" ] || PATH="$bin:$PATH"
PATH="$here/../node_modules/.bin:$PATH"
export PATH
exec "$@"
