"""Peak memory is this program's own."""

import subprocess
import sys
from pathlib import Path

from tc_common.environment import peak_rss_MB

ROOT = Path(__file__).parents[2]
STATED = "from tc_common.environment import peak_rss_MB\nheld = bytearray({megabytes} << 20)\nprint(peak_rss_MB())"
ALLOCATED_MB = 400


def stated_MB(megabytes: int) -> int:
    """What a process of its own says after holding that much."""
    program = STATED.format(megabytes=megabytes)
    return int(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True))


def test_what_was_held_counts() -> None:
    assert ALLOCATED_MB <= stated_MB(ALLOCATED_MB) - stated_MB(0) <= 1.1 * ALLOCATED_MB


def test_the_peak_of_whoever_started_it_does_not() -> None:
    before = stated_MB(0)
    held = bytearray(ALLOCATED_MB << 20)
    assert peak_rss_MB() >= ALLOCATED_MB and len(held)
    assert stated_MB(0) < before + 20
