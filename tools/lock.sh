#!/usr/bin/env bash
# Resolves every lock in 3rdparty/python anew with uv: hashes, and no address of any registry.
# Arguments go to the resolution of the default lock: --upgrade, --upgrade-package NAME, ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
locks=3rdparty/python
# uv's own lock names the registry it asked, so it is made, exported and removed.
trap 'rm -f uv.lock' EXIT

# Keeps what the committed lock pins, unless told to upgrade.
uv lock --quiet "$@"
uv export --quiet --frozen --format requirements-txt --all-packages --all-extras \
  --no-emit-workspace --no-header --no-annotate --output-file "$locks/default.lock.txt" >/dev/null

# Pants installs each tool by itself; their versions are the default lock's, where it has them.
tool() {
  local name="$1" pin
  pin="$(grep -oE "^$name==[^ ;]+" "$locks/default.lock.txt" || printf '%s' "$name")"
  uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
    --output-file "$locks/$name.lock.txt" - <<<"$pin" >/dev/null
}
for name in pytest ruff mypy black uv; do tool "$name"; done

if grep -nE '(https?|file)://' "$locks"/*.lock.txt; then
  echo "tools/lock.sh: the locks name a host" >&2
  exit 1
fi
