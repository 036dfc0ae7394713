#!/usr/bin/env bash
# Make a virtual environment and install a requirements file into it: tools/setup.sh requirements.txt [folder, default .venv]
# $PYTHON names the interpreter; without it, the newest of the Pythons that the pinned libraries are built for. What is
# already in the folder (a CPU build of torch) stays if its version is right. A failure is one line that says what to do.
set -u
requirements=$1
venv=${2:-.venv}
log=$venv/setup.log

fail() { echo "error: $*" >&2; exit 1; }

# Why an interpreter cannot be used, in a few words; nothing where it can.
objection() {
    "$1" -c '
import sys
if sys.version_info < (3, 11):
    print("is Python %d.%d, and 3.11 or newer is needed" % sys.version_info[:2])
elif sys.maxsize < 2**32:
    print("is a 32-bit Python, and PyTorch is built for 64 bits only")
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("has no venv module (Debian, Ubuntu: apt install python%d.%d-venv)" % sys.version_info[:2])
' 2>/dev/null || echo "does not run"
}

find_python() {
    local candidate said why=""
    for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
        said=$(objection "$candidate")
        [ -n "$said" ] || { echo "$candidate"; return; }
        [ "$said" = "does not run" ] && [ -z "${PYTHON:-}" ] || why=${why:-"$candidate $said"}
    done
    fail "${why:-no Python is there}; install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv), or name one: make setup PYTHON=/path/to/python3.12"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

explain() {  # log file -> one line
    local last
    if grep -qi "no space left" "$1"; then
        echo "the disk is full: free about 3 GB (10 GB for a CUDA build of torch) and run the same command again"
    elif grep -qiE "connection|resolve host|name resolution|timed out|proxy|from versions: none" "$1"; then
        echo "the package index cannot be reached: check the network or pip's settings and run the same command again"
    elif grep -qi "no matching distribution" "$1"; then
        echo "$(grep -i 'no matching distribution' "$1" | tail -1 | cut -d' ' -f2-): it is built for Python 3.11 to 3.14 on 64-bit Linux and macOS 14 or newer, and this is Python $(version_of "$venv/bin/python") on $(uname -sm)"
    else
        last=$(grep -iE 'error' "$1" | tail -1)
        echo "installation failed: ${last:-see the log} (all of it: $1)"
    fi
}

same_python() {  # a folder that is already there was made with a Python that can be used, and with the one that is named
    local there wanted
    there=$(version_of "$venv/bin/python") || there="that is gone"
    [ -z "$(objection "$venv/bin/python")" ] || fail "$venv was made with a Python $there: remove it (rm -r $venv) and run the same command again"
    [ -n "${PYTHON:-}" ] || return 0
    wanted=$(version_of "$PYTHON") || fail "$PYTHON does not run"
    [ "$there" = "$wanted" ] || fail "$venv was made with Python $there, not $wanted: remove it (rm -r $venv) or name another folder, VENV=.venv-$wanted"
}

if [ -e "$venv/bin/python" ] || [ -L "$venv/bin/python" ]; then
    same_python
else
    python=$(find_python) || exit 1
    "$python" -m venv "$venv" >/dev/null 2>&1 ||
        { rm -rf "$venv"; fail "$python cannot make $venv: check that this folder is writable and the disk is not full"; }
fi
[ -n "$requirements" ] || exit 0
echo "installing $requirements into $venv with $("$venv/bin/python" --version) (a few minutes the first time) ..."
"$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -r "$requirements" >"$log" 2>&1 || fail "$(explain "$log")"
