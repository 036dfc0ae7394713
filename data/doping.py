"""Artificial doping: a crystal's sites filled anew until it has another composition.

3DSC made most of its structures so (T. Sommer et al., Sci. Data 10, 816 (2023), doi 10.1038/s41597-023-02721-y): the
lattice and the positions stay, the elements on them change.

Legend: E elements by Z from 1 on, as in `tc_common.composition.element_fractions`.
"""

from collections import defaultdict
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Structure

from tc_common.composition import LAST_Z, Array

# Atoms of a cell; below it an amount is none.
LEAST = 1e-6


def doped(structure: Structure, wanted: Array) -> Structure:
    """The crystal with the atomic fractions `wanted` (E,); sites that nothing is left on are left out.

    Each atom too many is replaced by one that is missing, the chemically most similar first, on all sites of the
    element alike. Where more are too many than missing, vacancies remain (`cell_atoms`).
    """
    present = amounts(structure)
    target = wanted * cell_atoms(present, wanted)
    moves = replacements(present, target)
    kept = {place: min(1.0, float(target[place] / present[place])) for place in places(present)}
    sites = [_filled(site.species, kept, moves) for site in structure]
    left = [number for number, species in enumerate(sites) if species]
    return Structure(
        structure.lattice, [sites[number] for number in left], [structure.frac_coords[number] for number in left]
    )


def amounts(structure: Structure) -> Array:
    """Atoms of each element in the cell (E,)."""
    found = np.zeros(LAST_Z)
    for site in structure:
        for element, amount in site.species.items():
            found[element.Z - 1] += amount
    return found


def cell_atoms(present: Array, wanted: Array) -> float:
    """Atoms of the doped cell: as many as keep the number of metal atoms, at most those that there are.

    Non-metals leave their sites (oxygen of YBa2Cu3O7, hydrogen of PdH); metals take each other's.
    """
    metals = _metals()
    ours, theirs = present[metals].sum(), wanted[metals].sum()
    atoms = float(present.sum())
    return min(atoms, float(ours / theirs)) if ours and theirs else atoms


@cache
def _metals() -> NDArray[np.bool_]:
    return np.array([_element(place).is_metal for place in range(LAST_Z)])


def replacements(present: Array, target: Array) -> dict[int, dict[int, float]]:
    """For each element (by place in E) the fraction of its atoms that each missing element replaces."""
    spare, missing = (np.clip(change, 0, None) for change in (present - target, target - present))
    pairs = sorted(product(places(spare), places(missing)), key=lambda pair: unlike(*pair))
    moves: dict[int, dict[int, float]] = defaultdict(dict)
    for old, new in pairs:
        if (moved := min(spare[old], missing[new])) > LEAST:
            moves[old][new] = moved / present[old]
            spare[old] -= moved
            missing[new] -= moved
    return moves


def places(amount: Array) -> list[int]:
    """Places in E of the elements that there is any of."""
    return [int(place) for place in np.flatnonzero(amount)]


def unlike(old: int, new: int) -> float:
    """How unlike two elements (by place in E) are: the distance of their Mendeleev numbers.

    D. G. Pettifor, Solid State Commun. 51, 31 (1984), doi 10.1016/0038-1098(84)90765-8.
    """
    return abs(float(_element(old).mendeleev_no or 0) - float(_element(new).mendeleev_no or 0))


def _element(place: int) -> Element:
    return Element.from_Z(place + 1)


def _filled(species: Composition, kept: dict[int, float], moves: dict[int, dict[int, float]]) -> dict[str, float]:
    """Occupancies of one site after doping."""
    found: dict[str, float] = defaultdict(float)
    for element, amount in species.items():
        place = element.Z - 1
        found[_element(place).symbol] += amount * kept[place]
        for new, fraction in moves.get(place, {}).items():
            found[_element(new).symbol] += amount * fraction
    return {symbol: amount for symbol, amount in found.items() if amount > LEAST}
