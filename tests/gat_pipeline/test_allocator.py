"""The allocator's settings keep freed memory, which is seen in page faults, and only where they are asked for."""

import subprocess
import sys

import pytest

from gat_pipeline import allocator
from tests.gat_pipeline.crystals import ROOT

# malloc, touch and free 64 MB ten times; print the page faults of the last eight
PROBE = """
import ctypes, resource, sys
from gat_pipeline.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
for turn in range(10):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    libc.memset(block, 1, 64 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", PROBE, mode], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is meant")
def test_freed_memory_is_kept() -> None:
    kept, given_back = page_faults("keep"), page_faults("leave")
    if given_back < 100:
        pytest.skip("this C library keeps freed memory by itself")
    assert kept < given_back / 20


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False


# bf16 products of a hundred different lengths, and how many MB are held more after the last than after the tenth
KERNELS = """
import ctypes, sys, torch
from gat_pipeline.allocator import keep_few_kernels
if sys.argv[1] == "keep":
    keep_few_kernels()
def held_MB():
    ctypes.CDLL(None).malloc_trim(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4 // 1024
weight = torch.randn(256, 256, requires_grad=True)
for turn in range(150):
    if turn == 60:
        before = held_MB()
    with torch.autocast("cpu", torch.bfloat16):
        product = torch.nn.functional.linear(torch.randn(500 + turn, 256, requires_grad=True), weight)
    product.float().sum().backward()
    weight.grad = None
print(held_MB() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_kernels_of_old_shapes_are_forgotten() -> None:
    grown_MB = {}
    for mode in ("keep", "leave"):
        result = subprocess.run(
            [sys.executable, "-c", KERNELS, mode], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        grown_MB[mode] = int(result.stdout)
    if grown_MB["leave"] < 60:
        pytest.skip("this processor's kernels are not compiled for every shape")
    assert grown_MB["keep"] < grown_MB["leave"] / 4
