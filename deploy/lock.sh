#!/usr/bin/env bash
# Renews requirements.lock and requirements-bench.lock: deploy/lock.sh PIP_COMPILE [more options, as --upgrade]
#
# Hashes of every file of each version, so that one lock serves CPython 3.11 to 3.13; no address of an index.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=$1
shift
for extra in dev bench; do
    lock=requirements$([ $extra = dev ] || echo -$extra).lock
    "$compile" -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --no-header \
        --annotation-style=line --extra $extra -o "$lock" "$@" pyproject.toml
    sed -i '/^#/d' "$lock"
    sed -i '1i # Made by `make lock` from pyproject.toml: every version and the hashes of its files. Do not edit.' "$lock"
done
