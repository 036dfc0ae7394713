"""What a number was computed with: commit, library versions, processor, peak memory."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

# Linux only; elsewhere there is a fallback.
CPUINFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/self/status")
# Libraries whose release can change a number.
LIBRARIES = ("torch", "numpy", "timm", "peft", "alignn", "dgl")


def git_commit() -> str:
    """Commit of the project that runs, or "unknown" outside a clone."""
    root = Path(__file__).parent.parent
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


@cache
def versions() -> dict[str, str]:
    """Releases of Python and of the libraries that can change a number; "absent" for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "absent"


def usable_cores() -> int:
    """Processor cores that this process may use: its affinity on Linux, all cores elsewhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, where the system states it."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_rss_MB() -> int:
    """Largest resident memory (MiB) that this process has held since its program began.

    Linux's `ru_maxrss` survives exec: a process started from a larger one would state its parent's peak. `VmHWM`
    belongs to the program itself; elsewhere there is only the former.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) >> 10
    return max_rss_MB(resource.RUSAGE_SELF)


def max_rss_MB(who: int) -> int:
    """`ru_maxrss` (MiB) of this process or its children, which macOS counts in bytes and others in KiB."""
    return resource.getrusage(who).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
