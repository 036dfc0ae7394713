"""Keep freed memory in the process while a graph network trains.

Every step makes and drops some hundred tensors of 10 to 90 MB. glibc gives blocks of that size back to the kernel at
once and fetches them again zeroed, page by page: over a million page faults a step, 40 % of its time (measured by
`python -m benchmarks.graph_speed`). Raising two thresholds keeps such blocks on the heap, where the next tensor of
the same size finds them. The thresholds are bounds, not a ban on mmap, so that what one outsized batch took goes back.
"""

import ctypes
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_KEPT_BLOCK = 512 << 20
KEPT_AT_THE_TOP = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; returns whether this C library understood (elsewhere nothing happens)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK), (M_TRIM_THRESHOLD, KEPT_AT_THE_TOP), (M_TOP_PAD, 64 << 20))
    understood = [mallopt(name, value) == 1 for name, value in settings]
    return all(understood)
