#!/bin/sh
# Makes .NAME-venv from requirements/NAME.txt for a tool that must not meet the program's dependencies.
# Does nothing when it was made from these very requirements. Usage: sh tools/tool_venv.sh lock
set -eu
cd "$(dirname "$0")/.."
name=$1
venv=.$name-venv
sum="$(cksum <"requirements/$name.txt") $PWD"

[ -f "$venv/.stamp" ] && [ "$(cat "$venv/.stamp")" = "$sum" ] && exit 0
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "requirements/$name.txt"
printf '%s\n' "$sum" >"$venv/.stamp"
