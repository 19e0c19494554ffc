#!/bin/sh
# Makes the environment DIR with one of our packages, from the checkout's root:
#
#   tools/deploy/images/install.sh DIR 'imp-data[beam]' [ANOTHER REQUIREMENT …]
#
# Ours are built as wheels and never looked for in an index, where others may be called so; all else
# is of the lock's versions. The images and `./imp check-deploy` run this file alike; it needs uv.
set -eu
environment=$1
shift
case $1 in
  imp-proto*) ours="proto" ;;
  imp-data*) ours="proto data" ;;
  imp-model*) ours="model" ;;
  imp-train*) ours="proto data model train" ;;
  imp-eval*) ours="proto data model eval" ;;
  *)
    echo "install.sh: '$1' is none of imp-proto, imp-data, imp-model, imp-train, imp-eval" >&2
    exit 2
    ;;
esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

uv venv --quiet --python "${PYTHON:-python3}" "$environment"
for name in $ours; do
  # A copy: what a build leaves stays out of the checkout.
  cp -R "packages/imp-$name" "$scratch/imp-$name"
  uv build --quiet --wheel --out-dir "$scratch/wheels" "$scratch/imp-$name"
done
export VIRTUAL_ENV="$environment"
uv pip install --quiet --no-deps "$scratch"/wheels/*.whl
# The lock's versions without its hashes, which would be wanted of our wheels too.
sed -n 's/^\([A-Za-z0-9._-]*==.*[^ ]\) *\\$/\1/p' 3rdparty/python/default.lock.txt >"$scratch/versions"
uv pip install --quiet --constraint "$scratch/versions" "$@"
uv pip check --quiet
