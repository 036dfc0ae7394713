"""The best crystals as POSCAR for density functional theory; doped cells as ordered approximants.

An approximant is the smallest supercell, up to a number of atoms, whose whole numbers of atoms come closest to the
occupancies. On each kind of site the rarer elements (or vacancies) are placed one after the other as far as possible
from their like: no random structure, no enumeration, no energy.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.vasp import Poscar

from prediction.screening.items import Item, read_item
from prediction.screening.plan import Plan
from tc_common.errors import UserError
from tc_common.files import write_text

Repeats = tuple[int, int, int]
VACANCY = ""
MOST_REPEATS = 8
CLOSE_ENOUGH = 0.005
"""Mean fraction of the atoms by which an approximant may miss its composition before a larger one is tried."""


@dataclass(frozen=True)
class Approximant:
    """An ordered cell and how far its composition is from the crystal's."""

    structure: Structure
    repeats: Repeats
    missed: float
    """Fraction of the atoms (0 to 1) that differ."""


def approximant(structure: Structure, most_atoms: int) -> Approximant:
    """The nearest ordered supercell of at most so many sites (or the cell itself, if that is larger)."""
    if structure.is_ordered:
        return Approximant(structure, (1, 1, 1), 0.0)
    found = None
    for repeats in _supercells(structure, most_atoms):
        ordered = _ordered(structure, repeats)
        candidate = Approximant(ordered, repeats, _missed(structure.composition, ordered.composition))
        if found is None or candidate.missed < found.missed - 1e-9:
            found = candidate
        if found.missed <= CLOSE_ENOUGH:
            break
    assert found is not None, "the cell itself is a supercell"
    return found


def _supercells(structure: Structure, most_atoms: int) -> list[Repeats]:
    """Repeats along the axes, small cells first, of equal ones those of the most even edges."""
    lengths = np.array(structure.lattice.abc)
    all_repeats = [
        (a, b, c)
        for a, b, c in product(range(1, MOST_REPEATS + 1), repeat=3)
        if a * b * c * len(structure) <= max(most_atoms, len(structure))
    ]
    return sorted(all_repeats, key=lambda repeats: (np.prod(repeats), np.ptp(lengths * repeats), repeats))


def _ordered(structure: Structure, repeats: Repeats) -> Structure:
    """One element on each site of a supercell."""
    large = structure.copy().make_supercell(repeats)
    kinds: dict[Composition, list[int]] = {}
    for number, site in enumerate(large):
        kinds.setdefault(site.species, []).append(number)
    occupants = [VACANCY] * len(large)
    for species, sites in kinds.items():
        coordinates = large.frac_coords[sites]
        for place, symbol in enumerate(_placed(_counts(species, len(sites)), coordinates, large.lattice)):
            occupants[sites[place]] = symbol
    kept = [number for number, symbol in enumerate(occupants) if symbol]
    return Structure(large.lattice, [occupants[number] for number in kept], large.frac_coords[kept])


def _counts(species: Composition, sites: int) -> dict[str, int]:
    """Whole numbers of atoms (and vacancies) on so many sites, by largest remainder."""
    amounts = species.get_el_amt_dict()
    wanted = {symbol: sites * amount for symbol, amount in amounts.items()}
    wanted[VACANCY] = max(0.0, sites - sum(wanted.values()))
    counts = {symbol: int(amount + 1e-9) for symbol, amount in wanted.items()}
    by_remainder = sorted(wanted, key=lambda symbol: counts[symbol] - wanted[symbol])
    for symbol in by_remainder[: sites - sum(counts.values())]:
        counts[symbol] += 1
    return counts


def _placed(counts: dict[str, int], frac: NDArray[np.float64], lattice: Lattice) -> list[str]:
    """Occupant of each site: the rarer ones first, each as far as possible from its like; the commonest fills up."""
    order = sorted(counts, key=lambda symbol: (counts[symbol], symbol))
    placed: list[str | None] = [None] * len(frac)
    distances_A = lattice.get_all_distances(frac, frac)
    for symbol in order[:-1]:
        own: list[int] = []
        for _ in range(counts[symbol]):
            free = [number for number, occupant in enumerate(placed) if occupant is None]
            own.append(max(free, key=lambda number: min(distances_A[number, own], default=0.0)))
            placed[own[-1]] = symbol
    return [order[-1] if occupant is None else occupant for occupant in placed]


def _missed(wanted: Composition, found: Composition) -> float:
    """Fraction of the sites' atoms to exchange."""
    a, b = (each.fractional_composition.get_el_amt_dict() for each in (wanted, found))
    return sum(abs(a.get(symbol, 0.0) - b.get(symbol, 0.0)) for symbol in {*a, *b}) / 2


# ---- files -------------------------------------------------------------------------------------------------------


def export(folder: Path, top: Path, plan: Plan, count: int, most_atoms: int) -> None:
    """Write the best by the lower bound as `001-MgB2.vasp`, ..., and a README of what was done.

    Raises:
        UserError: the folder has files already, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder: --export-poscar")
    table = pq.read_table(top)
    best = table.filter(pc.equal(table["criterion"], "lower_K")).slice(0, count).to_pylist()
    lines = []
    for row in best:
        made = approximant(read_item(item_of(plan, row["number"])), most_atoms)
        name = f"{row['rank']:03d}-{made.structure.composition.reduced_formula}.vasp"
        comment = f"{row['formula']} predicted {row['tc_K']:.1f} K"
        write_text(folder / name, Poscar(made.structure.get_sorted_structure(), comment=comment).get_str())
        cell = "as read" if made.repeats == (1, 1, 1) else "x".join(map(str, made.repeats))
        lines.append(f"| {name} | {row['formula']} | {row['tc_K']:.1f} | {cell} | {made.missed:.3f} | {row['name']} |")
    write_text(folder / "README.md", README.format(most_atoms=most_atoms, rows="\n".join(lines)))


def item_of(plan: Plan, number: int) -> Item:
    """The crystal of a number."""
    shard = number // plan.shard
    return list(plan.items(shard))[number - plan.numbers(shard).start]


README = """\
# Candidates for density functional theory

Written by `python -m prediction.screen --export-poscar`: the best crystals by the lower end of their interval.

Cells with mixed or partly empty sites are ordered approximants: the smallest supercell, of at most {most_atoms} sites,
whose composition is nearest; on each kind of site the rarer elements lie as far from their like as the cell allows.
They are neither enumerated nor special quasirandom structures, and no energy was compared: compute several orderings
before a small energy difference is trusted. Nothing is relaxed. `missed` is the fraction of the atoms in which an
approximant differs from the crystal that was predicted.

| file | predicted formula | Tc (K) | supercell | missed | name |
| --- | --- | ---: | --- | ---: | --- |
{rows}
"""
