#!/bin/sh
# Make the virtual environment that everything here runs in: sh tools/setup.sh [folder]
# PYTHON names the interpreter; without it the first one that is new enough is taken.
set -eu
venv=${1:-.venv}
python=$venv/bin/python
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

if ! "$python" -c '' 2>/dev/null; then
    found=
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
    for candidate; do
        if "$candidate" -c "$new_enough" 2>/dev/null; then found=$candidate && break; fi
    done
    if [ -z "$found" ]; then
        echo "Python 3.11 or later is needed; $1 is: $("$1" --version 2>&1 || true)" >&2
        echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2
        exit 1
    fi
    echo "Making the virtual environment $venv with $("$found" --version) ..."
    if ! "$found" -m venv "$venv"; then
        echo "$found cannot make a virtual environment (on Debian: apt install python3-venv)." >&2
        exit 1
    fi
elif ! "$python" -c "$new_enough"; then
    echo "Python 3.11 or later is needed; $venv holds $("$python" --version)." >&2
    echo "Delete that folder, or name another one: make VENV=.venv-book" >&2
    exit 1
fi

# An environment made by another tool may come without pip.
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip
echo "Installing the package and its tools, pinned by constraints.txt (a few minutes) ..."
"$python" -m pip install -c constraints.txt -e '.[book,torch,test]'
touch "$venv/.installed"
