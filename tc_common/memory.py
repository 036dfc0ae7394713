"""Largest resident memory of this process."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_rss_MB() -> int:
    """Largest resident memory (MiB) that this process has held since its program began.

    Linux's `ru_maxrss` survives exec: a process started from a larger one would state its parent's peak. `VmHWM`
    belongs to the program itself; elsewhere there is only the former.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) >> 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak >> (20 if sys.platform == "darwin" else 10)
