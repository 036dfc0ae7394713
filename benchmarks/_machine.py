"""The machine that a benchmark runs on, and whether other programs were running on it too.

The load is read when this module is imported, which is before a benchmark does anything: its own load is not counted.
"""

import os
import platform
from importlib.metadata import version
from typing import Any

from tc_common.environment import processor, usable_cores

LOAD_AT_START = os.getloadavg()
LIBRARIES = ("numpy", "opencv-python-headless", "pymatgen", "scipy", "torch")
# Programs that want a core at a time; with more of them a benchmark had to wait.
MOST_LOAD_PER_CORE = 0.5


def machine() -> dict[str, Any]:
    """Processor, cores, load at the start and versions, recorded with every number."""
    return {
        "cpu": processor(),
        "cores": usable_cores(),
        "load_average_1_min": round(LOAD_AT_START[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def load_of(machine: Any) -> float | None:
    """Load at the start that a result states of its machine, whatever it calls it; None where it states none."""
    found = machine if isinstance(machine, dict) else {}
    for name in ("load_average_1_min", "load_at_start", "load_average"):
        if name in found:
            return float(found[name][0] if isinstance(found[name], list) else found[name])
    return None


def is_loaded(machine: Any) -> bool:
    """Whether a result was measured beside other programs."""
    load = load_of(machine)
    cores = next((int(machine[name]) for name in ("cores", "processors", "threads") if load and name in machine), 2)
    return load is not None and load > MOST_LOAD_PER_CORE * cores
