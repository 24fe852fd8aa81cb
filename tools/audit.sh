#!/bin/sh
# Asks the vulnerability database about every pinned package. "Could not ask" is a failure too:
# an audit that skipped something has not been done.
set -eu
cd "$(dirname "$0")/.."

sh tools/tool_venv.sh audit
for file in runtime dev build audit lock; do
    echo "audit: requirements/$file.txt"
    .audit-venv/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
        --requirement "requirements/$file.txt"
done
