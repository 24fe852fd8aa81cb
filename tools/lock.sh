#!/bin/sh
# Writes requirements/*.txt from pyproject.toml and requirements/*.in: exact versions, hashes, every
# platform and Python we support, and no word about where the packages came from.
# `make lock` keeps what is pinned as far as the ranges allow; `make lock ARGS=--upgrade` takes the newest.
set -eu
cd "$(dirname "$0")/.."

sh tools/tool_venv.sh lock

compile() {
    .lock-venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-header --no-strip-extras "$@" >/dev/null
}

compile "$@" pyproject.toml -o requirements/runtime.txt
compile "$@" pyproject.toml --extra embedded requirements/dev.in -c requirements/runtime.txt -o requirements/dev.txt
compile "$@" requirements/build.in -c requirements/dev.txt -o requirements/build.txt
compile "$@" requirements/audit.in -o requirements/audit.txt
compile "$@" requirements/lock.in -o requirements/lock.txt
