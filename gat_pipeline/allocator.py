"""Two settings of the C libraries below PyTorch that make training on graphs fast and keep its memory bounded.

Freed memory: every step makes and drops some hundred tensors of 10 to 90 MB. glibc gives blocks of that size back to
the kernel at once and fetches them again zeroed, page by page: 104,000 page faults and a sixth of the time
of a step (`benchmarks/results/graph_speed.json`). Raising two thresholds keeps such blocks on the heap, where the
next tensor of the same size finds them. The thresholds are bounds, not a ban on mmap.

Kernels: every batch has its own numbers of atoms, bonds and angles, and for each number oneDNN compiles kernels that
it keeps for the next thousand, scattered between the large blocks. Fewer are kept here; within a
step they are still shared by the layers.
"""

import ctypes
import os
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_KEPT_BLOCK = 512 << 20
KEPT_AT_THE_TOP = 1 << 30
# of oneDNN and of the layer that PyTorch has above it; read when the first matrix product is computed
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KERNELS_KEPT = 128


def tune_memory() -> None:
    """Both settings, for this process; to be called before the first tensor is computed."""
    keep_freed_memory()
    keep_few_kernels()


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


def keep_few_kernels() -> None:
    """Bound the kernels that are kept for shapes met before, unless the user has set it otherwise."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS_KEPT))
