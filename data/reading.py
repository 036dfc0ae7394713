"""Every structure of a source, read once, in worker processes with a time and a memory limit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.prototypes import has_a15_chains, has_boron_honeycomb, shortest_distance_A
from tc_common.composition import fractions
from tc_common.crystals import read_crystal
from tc_common.reading import MEMORY_LIMIT_BYTES, TIME_LIMIT_S, Limits, read_files

__all__ = ["Facts", "Reading", "facts_of", "read_all"]

Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of one file: facts, or the reason why there are none."""

    facts: Facts | None
    reason: str


def facts_of(path: Path) -> Facts:
    """What the rest of the data room needs to know of a structure.

    Raises:
        CrystalError: the file cannot be used.
    """
    structure = read_crystal(path)
    sites = [site.species for site in structure]
    return {
        "found_formula": structure.composition.reduced_formula,
        "found": fractions(structure.composition),
        "sites": len(structure),
        "partial": any(len(species) > 1 or species.num_atoms < 1 - 1e-6 for species in sites),
        "volume_per_atom_A3": round(structure.volume / structure.composition.num_atoms, 3),
        "shortest_distance_A": round(shortest_distance_A(structure), 3),
        "a15_chains": has_a15_chains(structure),
        "boron_honeycomb": has_boron_honeycomb(structure),
        "remarks": "; ".join(structure.properties["remarks"]),
    }


def read_all(
    paths: list[Path],
    workers: int,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> list[Reading]:
    """Read every file; the order of the results is that of the paths, whatever the number of workers."""
    limits = Limits(time_s=time_limit_s, memory_bytes=memory_limit_bytes)
    outcomes = read_files(facts_of, paths, workers, limits, "reading crystals")
    return [Reading(facts=outcome.result, reason=outcome.reason) for outcome in outcomes]
