"""Keeps the computer from sleeping while a training runs, by the system's own means."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# Both end by themselves when the monitor ends, however it ends.
HELPERS = {
    "caffeinate": ("-i", "-w", "{pid}"),
    "systemd-inhibit": (
        "--what=sleep:idle", "--who=SuperVision", "--why=a training runs", "--mode=block",
        "tail", "--pid={pid}", "-f", "/dev/null",
    ),
}  # fmt: skip
SECONDS_TO_REFUSE = 0.5


@contextmanager
def awake(wanted: bool = True) -> Iterator[str]:
    """Hold the computer awake inside the block; gives what holds it, or why nothing does."""
    if not wanted:
        yield "the computer may sleep: --no-keep-awake"
        return
    helper = next((name for name in HELPERS if shutil.which(name)), None)
    if helper is None:
        yield f"the computer may sleep: it has no {' nor '.join(HELPERS)}"
        return
    words = [helper, *(word.format(pid=os.getpid()) for word in HELPERS[helper])]
    holder = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield _outcome(helper, holder)
    finally:
        if holder.poll() is None:
            holder.terminate()
        holder.communicate()


def _outcome(helper: str, holder: "subprocess.Popen[bytes]") -> str:
    try:
        holder.wait(SECONDS_TO_REFUSE)
    except subprocess.TimeoutExpired:
        return f"{helper} keeps the computer awake"
    assert holder.stderr is not None
    return f"the computer may sleep: {helper} said {holder.stderr.read().decode(errors='replace').strip()[:200]!r}"
