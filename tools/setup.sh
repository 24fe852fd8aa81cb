#!/bin/sh
# Makes .venv from the pinned, hashed requirements and installs the checkout into it, editable.
# Does nothing when it has been done for these very requirements: the stamp holds their checksums.
# Needs Python >= 3.11 and nothing else; PYTHON=/path/to/python chooses one.
set -eu
cd "$(dirname "$0")/.."

# Settings meant for another installation would send packages elsewhere or make pip refuse.
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_HASHES PIP_NO_DEPS PIP_CONSTRAINT \
    PIP_REQUIRE_VIRTUALENV PIP_PYTHON PIP_DRY_RUN PIP_NO_BINARY PIP_EDITABLE PIP_REQUIREMENT VIRTUAL_ENV
PIP_DISABLE_PIP_VERSION_CHECK=1
PIP_NO_INPUT=1
export PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT

venv=.venv
stamp=$venv/.stamp
requirements_sum="$(cksum <requirements/dev.txt) $PWD"
project_sum="$(cksum <pyproject.toml)"

if [ -x "$venv/bin/python" ] && [ -x "$venv/bin/strait" ] && [ -f "$stamp" ] \
    && [ "$(cat "$stamp")" = "$requirements_sum
$project_sum" ]; then
    exit 0
fi

say() { printf 'setup: %s\n' "$*" >&2; }

good_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has() { "$1" -c "import $2" >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        good_python "$PYTHON" || { say "PYTHON=$PYTHON is not a working Python >= 3.11"; exit 1; }
        echo "$PYTHON"
        return
    fi
    fallback=
    for name in python3 python python3.14 python3.13 python3.12 python3.11; do
        path=$(command -v "$name" 2>/dev/null) || continue
        good_python "$path" || continue
        if has "$path" ensurepip; then echo "$path"; return; fi
        fallback=${fallback:-$path}
    done
    echo "$fallback"
}

make_venv() {
    python=$(find_python)
    if [ -z "$python" ]; then
        say "no Python >= 3.11 found: install one, or name it: make setup PYTHON=/path/to/python3"
        exit 1
    fi
    rm -rf "$venv"
    if has "$python" ensurepip; then
        "$python" -m venv "$venv"
    elif has "$python" pip; then
        "$python" -m venv --without-pip "$venv"
    else
        say "$python has neither ensurepip nor pip, so it cannot fill a virtual environment."
        say "On Debian and Ubuntu: apt-get install python3-venv; or name another: make setup PYTHON=/path/to/python3"
        exit 1
    fi
}

# The venv's own pip, or the base interpreter's pointed at the venv where the venv could not get one.
install() {
    if has "$venv/bin/python" pip; then
        "$venv/bin/python" -m pip install --quiet --progress-bar off "$@"
    else
        "$(find_python)" -m pip --python "$venv/bin/python" install --quiet --progress-bar off "$@"
    fi
}

if ! { [ -f "$stamp" ] && [ "$(sed 1q "$stamp")" = "$requirements_sum" ] && good_python "$venv/bin/python"; }; then
    # A venv that was finished here once is brought up to date; anything else is made anew.
    if [ -f "$stamp" ] && [ "$(sed 1q "$stamp" | cut -d' ' -f3-)" = "$PWD" ] && good_python "$venv/bin/python"; then
        say "updating $venv"
    else
        say "making $venv (once; about a minute)"
        make_venv
    fi
    install --require-hashes --requirement requirements/dev.txt
fi
install --no-deps --no-build-isolation --editable .
printf '%s\n%s\n' "$requirements_sum" "$project_sum" >"$stamp"
say "ready: $("$venv/bin/python" --version) in $venv"
