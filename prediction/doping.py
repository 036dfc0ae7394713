"""Doping series: some atoms of an element, or of one site, replaced by another element or by vacancies.

Legend: n fractions of a series.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Composition, Structure

from prediction.inputs import crystal_of
from prediction.prediction import Failure, Prediction
from tc_common.composition import ROUNDING, chemical_formula, formula_distance, fractions, parse_formula
from tc_common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from prediction.predictor import Predictor

# A measured compound is of a series if at most so many of its atoms would have to be exchanged: formulas are rounded.
# With 0.005, La2CuO4.03 (36 K by its oxygen) would be of the series La2-xSrxCuO4.
ON_THE_LINE = 0.0005
# Below this an occupancy is none: the last of an element in a full substitution.
LEAST_OCCUPANCY = 1e-6
MOST_FRACTIONS = 1_000


@dataclass(frozen=True, eq=False)
class DopingSeries:
    """Predictions along a series, and what was measured along it."""

    old: str
    new: str
    """Element, or "" for a vacancy."""
    fractions: tuple[float, ...]
    """(n,) of the old atoms that were replaced, 0 to 1."""
    predictions: tuple[Prediction, ...]
    """(n,)"""
    measured: tuple[tuple[float, float, str], ...]
    """Fraction, Tc in K and formula of the known compounds on this line of compositions, by fraction."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "old": self.old,
            "new": self.new,
            "fractions": [*self.fractions],
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "measured": [{"fraction": x, "tc_K": tc_K, "formula": formula} for x, tc_K, formula in self.measured],
        }

    def table(self) -> "pd.DataFrame":
        """One row a fraction: `fraction, formula, tc_K, lower_K, upper_K, measured_K`."""
        import pandas as pd

        rows = [
            (x, each.formula, each.tc_K, each.lower_K, each.upper_K, each.known.tc_K if each.known else None)
            for x, each in zip(self.fractions, self.predictions, strict=True)
        ]
        return pd.DataFrame(rows, columns=["fraction", "formula", "tc_K", "lower_K", "upper_K", "measured_K"])

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False, float_format="{:.3g}".format, na_rep=""))


def doping_series(predictor: "Predictor", x: Any, old: str, new: str, wanted: Sequence[float]) -> DopingSeries:
    """Predict a crystal with the given fractions of `old` replaced by `new`.

    Args:
        old: an element, or labels of its sites such as `La1` or `Cu1+Cu2` (see `site_labels`).
        new: an element; "" for vacancies.
        wanted: fractions (n,) of the old atoms, each from 0 to 1.

    Raises:
        UserError: a fraction outside [0, 1], an element that is not there or does not exist, or a crystal that cannot
            be read or predicted.
    """
    crystal = crystal_of(x)
    series = [substituted(crystal, old, new, fraction) for fraction in checked(wanted)]
    found = list(predictor.predict_many(series, [f"{old}={new}:{fraction:g}" for fraction in wanted]))
    for each in found:
        if isinstance(each, Failure):
            raise UserError(f"{each.name}: {each.error}")
    predictions = tuple(each for each in found if isinstance(each, Prediction))
    measured = measured_along(predictor, crystal, old, new)
    return DopingSeries(old, new, tuple(map(float, wanted)), predictions, measured)


def checked(wanted: Sequence[float]) -> Sequence[float]:
    """The fractions.

    Raises:
        UserError: there are none or too many, or one is outside [0, 1].
    """
    if not 0 < len(wanted) <= MOST_FRACTIONS:
        raise UserError(f"{len(wanted)} fractions; a series has between 1 and {MOST_FRACTIONS}")
    if wrong := [each for each in wanted if not 0 <= each <= 1]:
        raise UserError(f"a fraction of {wrong[0]:g} is outside [0, 1]")
    return wanted


def parse_series(text: str) -> tuple[str, str, list[float]]:
    """Old, new and fractions of a text such as `La=Sr:0:0.4:21` (from, to, how many), `O=:0:0.1:3` (vacancies) or
    `Cu2+Cu3=Zn:0:0.1:5` (two of the sites).

    Raises:
        UserError: it is no such text.
    """
    found = re.fullmatch(r"([\w+]+)=(\w*):([\d.eE+-]+):([\d.eE+-]+):(\d{1,4})", text)
    try:
        if found is None:
            raise ValueError(text)
        old, new, first, last, count = found.groups()
        wanted = np.linspace(float(first), float(last), int(count)).tolist()
    except ValueError as error:
        raise UserError(
            f"{text!r:.80} is no series; write OLD=NEW:FROM:TO:COUNT, such as La=Sr:0:0.4:21 (NEW empty for vacancies)"
        ) from error
    return old, new, wanted


def site_labels(structure: Structure) -> list[str]:
    """A label for every site: its first element and a number, counted for each element (La1, La2, Cu1, O1 …)."""
    counts: dict[str, int] = {}
    labels = []
    for site in structure:
        symbol = max(site.species.items(), key=lambda part: part[1])[0].symbol
        counts[symbol] = counts.get(symbol, 0) + 1
        labels.append(f"{symbol}{counts[symbol]}")
    return labels


def substituted(structure: Structure, old: str, new: str, fraction: float) -> Structure:
    """The crystal with this fraction of the old element's atoms replaced, on all its sites or on some.

    Raises:
        UserError: `old` is neither an element of the crystal nor a label of its sites, `new` is no element, or nothing
            would be left.
    """
    symbol, sites = _where(structure, old)
    if new and (new == symbol or not _is_element(new)):
        raise UserError(f"{new!r} is no element to put in place of {symbol}; leave it empty for vacancies")
    changed = structure.copy()
    for number in sites:
        species = _replaced(changed[number].species, symbol, new, fraction)
        if species:
            changed.replace(number, Composition(species))
    emptied = [number for number in sites if not _replaced(structure[number].species, symbol, new, fraction)]
    if len(emptied) == len(changed):
        raise UserError(f"without its {symbol} nothing is left of {chemical_formula(structure)}")
    changed.remove_sites(emptied)
    changed.properties = structure.properties
    return changed


def _replaced(species: Composition, symbol: str, new: str, fraction: float) -> dict[str, float]:
    """Occupancies of one site after the substitution."""
    amounts = {element.symbol: float(amount) for element, amount in species.items()}
    moved = fraction * amounts[symbol]
    amounts[symbol] -= moved
    if new:
        amounts[new] = amounts.get(new, 0.0) + moved
    return {element: amount for element, amount in amounts.items() if amount > LEAST_OCCUPANCY}


def _where(structure: Structure, old: str) -> tuple[str, list[int]]:
    """The element to replace, and the sites on which."""
    holding = [n for n, site in enumerate(structure) if old in {element.symbol for element in site.species}]
    if holding:
        return old, holding
    labels, wanted = site_labels(structure), old.split("+")
    if unknown := [label for label in wanted if label not in labels]:
        raise UserError(
            f"{unknown[0]!r:.40} is neither an element of {chemical_formula(structure)} nor one of its sites "
            f"({', '.join(labels[:12])}{' …' * (len(labels) > 12)})"
        )
    symbols = {label.rstrip("0123456789") for label in wanted}
    if len(symbols) > 1:
        raise UserError(f"{old!r:.40} names sites of {' and '.join(sorted(symbols))}; replace one element at a time")
    return symbols.pop(), sorted({labels.index(label) for label in wanted})


def _is_element(symbol: str) -> bool:
    try:
        return [element.symbol for element in parse_formula(symbol)] == [symbol]
    except UserError:
        return False


# ---- what was measured -------------------------------------------------------------------------------------------


def measured_along(
    predictor: "Predictor", structure: Structure, old: str, new: str
) -> tuple[tuple[float, float, str], ...]:
    """Known compounds of the same elements whose composition is on this line."""
    first = substituted(structure, old, new, 0.0).composition
    last = substituted(structure, old, new, 1.0).composition
    known = predictor.known_compounds
    columns = [element.Z - 1 for element in {*first, *last}]
    others = np.delete(known.fractions, columns, axis=1)
    found = []
    for row in np.flatnonzero(others.sum(axis=1) <= ROUNDING):
        formula, tc_K = known.table[["formula", "tc"]].iloc[row]
        composition = parse_formula(formula)
        fraction, distance = nearest_on_line(fractions(composition), first, last)
        if distance <= ON_THE_LINE + ROUNDING:
            found.append((round(fraction, 6), float(tc_K), chemical_formula(composition)))
    return tuple(sorted(found))


def nearest_on_line(wanted: dict[str, float], first: Composition, last: Composition) -> tuple[float, float]:
    """Substituted fraction (0 to 1) whose composition is nearest to the wanted one, and the distance from it.

    The distance (`formula_distance`) has one minimum along the line: a golden-section search finds it.
    """

    def distance(fraction: float) -> float:
        return formula_distance(wanted, fractions((1 - fraction) * first + fraction * last))

    low, high = 0.0, 1.0
    golden = (5**0.5 - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if distance(left) <= distance(right):
            high = right
        else:
            low = left
    best = min((low, high, (low + high) / 2, 0.0, 1.0), key=distance)
    return best, distance(best)
