#!/usr/bin/env bash
# Make .venv and install a requirements file into it. Usage: tools/setup.sh requirements.txt
# A failure is one line that says what to do; the full log is .venv/setup.log.
set -u
requirements=$1
venv=.venv

fail() { echo "error: $*" >&2; exit 1; }

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.10 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

explain() {  # log file -> one line
    if grep -qi "no space left" "$1"; then
        echo "the disk is full: free about 3 GB (10 GB for a CUDA build of torch) and run the same command again"
    elif grep -qiE "connection|resolve|timed out|proxy|from versions: none" "$1"; then
        echo "the package index cannot be reached: check the network or pip's settings and run the same command again"
    elif grep -qi "no matching distribution" "$1"; then
        echo "$(grep -i 'no matching distribution' "$1" | tail -1 | cut -d' ' -f2-): this needs a 64-bit Linux or macOS"
    else
        echo "installation failed: $(grep -iE 'error' "$1" | tail -1) (all of it: $1)"
    fi
}

if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    [ -n "$python" ] || fail "no Python 3.10 or 3.11 found: install one (Debian, Ubuntu: apt install python3.11 python3.11-venv) or name it, make setup PYTHON=/path/to/python3.11"
    "$python" -m venv "$venv" >/dev/null 2>&1 ||
        { rm -rf "$venv"; fail "$python cannot make $venv: install its venv module (Debian, Ubuntu: apt install ${python##*/}-venv) and check that this folder is writable and the disk is not full"; }
fi
echo "installing $requirements into $venv (a few minutes the first time) ..."
log=$venv/setup.log
"$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -r "$requirements" >"$log" 2>&1 || fail "$(explain "$log")"
