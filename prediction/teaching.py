"""Crystals for teaching a student: copies of known ones, strained, substituted by ionic neighbours, and doped.

An ionic substitution is drawn with the probability of pymatgen's table, mined from the ICSD (Hautier et al. 2011,
doi 10.1021/ic102031h), of the most probable oxidation states. Copies whose composition is, within 0.5 % of the atoms,
one that is held out (validation, test) are dropped: a student must not have seen it, not even a teacher's guess.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
from pymatgen.core import Composition, Species, Structure

from prediction.doping import substituted
from tc_common.augmentation import StructureAugmentation
from tc_common.composition import ROUNDING, fractions_formula, nearest_distance
from tc_common.crystals import CrystalError, check_crystal
from tc_common.further import SAME_COMPOSITION

# Lengths, shear and free coordinates within what the training's own augmentation takes for one crystal.
STRAIN = StructureAugmentation(strain=0.02, shear=0.01, displacement_A=0.03)
OCCUPANCY = StructureAugmentation(strain=0.02, occupancy=0.05)
KINDS = ("substituted", "doped", "strained", "substituted", "doped", "occupancy")
LARGEST_DOPING = 0.5
LEAST_PROBABILITY = 1e-4


def copies_of(structure: Structure, count: int, random: np.random.Generator) -> Iterator[tuple[str, Structure]]:
    """Kind and crystal of up to `count` changed copies; one that is no crystal is left out."""
    first = int(random.integers(len(KINDS)))
    for number in range(count):
        kind = KINDS[(first + number) % len(KINDS)]
        changed = changed_copy(structure, kind, random)
        if changed is not None:
            yield kind, changed


def changed_copy(structure: Structure, kind: str, random: np.random.Generator) -> Structure | None:
    """One copy of a kind, or None where there is none (no ionic neighbour, no crystal)."""
    if kind == "occupancy":
        return OCCUPANCY.apply(structure, random)
    changed = structure
    if kind in ("substituted", "doped"):
        partner = drawn_partner(structure.composition, random)
        if partner is None:
            return None
        fraction = 1.0 if kind == "substituted" else float(random.uniform(0.01, LARGEST_DOPING))
        changed = substituted(structure, *partner, fraction)
    changed = STRAIN.apply(changed, random)
    try:
        check_crystal(changed)
    except CrystalError:
        return None
    return changed


def drawn_partner(composition: Composition, random: np.random.Generator) -> tuple[str, str] | None:
    """An element of a composition and an ionic neighbour that it lacks; None where no element has one."""
    present = sorted(element.symbol for element in composition)
    olds = [symbol for symbol in present if set(partners().get(symbol, {})) - set(present)]
    if not olds:
        return None
    old = str(random.choice(olds))
    news = {new: chance for new, chance in partners()[old].items() if new not in present}
    chances = np.array([*news.values()])
    return old, str(random.choice([*news], p=chances / chances.sum()))


@cache
def partners() -> dict[str, dict[str, float]]:
    """Probability with which an element takes another's place, by both symbols; rare ones are left out."""
    from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability

    table = SubstitutionProbability()
    ions = sorted((each for each in table.species if isinstance(each, Species)), key=str)
    found: dict[str, dict[str, float]] = {}
    for old, new in product(ions, ions):
        if old.symbol != new.symbol and (chance := float(table.prob(old, new))) > LEAST_PROBABILITY:
            row = found.setdefault(old.symbol, {})
            row[new.symbol] = max(row.get(new.symbol, 0.0), chance)
    return found


def away_from(crystals: Sequence[Structure], held_out: Sequence[str]) -> list[bool]:
    """Whether each crystal's composition differs from all held-out formulas by more than 0.5 % of the atoms."""
    formulas = [fractions_formula(crystal) for crystal in crystals]
    return [*(nearest_distance(formulas, held_out) > SAME_COMPOSITION + ROUNDING)]
