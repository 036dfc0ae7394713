"""Two settings of the C libraries below PyTorch that make training on graphs fast and bound its memory.

Freed memory: every step allocates and frees some hundred tensors of 10 to 90 MB. glibc returns blocks of that size to
the kernel at once and gets them again zeroed, page by page: 104,000 page faults and a sixth of the time of a step
(`benchmarks/results/graph_speed.json`). Higher thresholds keep such blocks on the heap for the next tensor.

Kernels: every batch has its own numbers of atoms, bonds and angles, and oneDNN caches compiled kernels for the last
thousand numbers, scattered between the large blocks. Fewer are cached here; layers of a step still share them.
"""

import ctypes
import os
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MMAP_THRESHOLD = 512 << 20
TOP_THRESHOLD = 1 << 30
# of oneDNN and of the layer that PyTorch has above it; read when the first matrix product is computed
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KERNELS_KEPT = 128


def tune_memory() -> None:
    """Both settings, for this process; to be called before the first tensor is computed."""
    keep_freed_memory()
    keep_few_kernels()


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; returns whether this C library has the setting (elsewhere nothing happens)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, MMAP_THRESHOLD), (M_TRIM_THRESHOLD, TOP_THRESHOLD), (M_TOP_PAD, 64 << 20))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)


def keep_few_kernels() -> None:
    """Bound the cache of compiled kernels, unless the user has set it otherwise."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS_KEPT))
