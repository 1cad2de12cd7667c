#!/bin/sh
# Makes the virtual environment $1 with $PYTHON, unless a good one is there.
set -eu
venv=$1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    echo "$*" >&2
    exit 1
}

if "$venv/bin/python" -c "$new_enough; import pip" 2>/dev/null; then
    exit 0
fi
command -v "$PYTHON" >/dev/null ||
    fail "There is no $PYTHON here; install Python 3.11 or newer, or name one:" \
        "make PYTHON=/path/to/python3"
"$PYTHON" -c "$new_enough" ||
    fail "Placet needs Python 3.11 or newer; $PYTHON is" \
        "$("$PYTHON" --version 2>&1). Name another: make PYTHON=python3.12"
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$PYTHON comes without venv and ensurepip; on Debian and Ubuntu install" \
        "them with: apt-get install python3-venv"
echo "Making $venv; this takes a minute the first time."
"$PYTHON" -m venv --clear "$venv"
