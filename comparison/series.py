"""Doping series among materials: same elements, and compositions on one line.

A line is the replacement of one element by another (La2-xSrxCuO4: the sum of La and Sr, and all else, stays), or more
or less of one element (YBa2Cu3Ox: all else stays). Amounts are compared to a hundredth. Of every chemical system the
line with most materials counts, so that a material is in one series only.

Legend: n materials, E elements by Z from 1 on, m materials of a series.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from tc_common.composition import chemical_formula, element_fractions, parse_formula

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
# The two elements that vary (the second -1: the first alone), then every other one and its amount over theirs.
Line: TypeAlias = tuple[int, int, tuple[tuple[int, float], ...]]
LEAST_IN_SERIES, MOST_SERIES = 6, 8
ALONE = -1
# Formula units are multiples up to this of the smallest, and amounts within this of a whole number are whole.
MOST_UNITS, WHOLE = 24, 0.06
SUBSCRIPTS = str.maketrans("0123456789-x.", "₀₁₂₃₄₅₆₇₈₉₋ₓ.")


@dataclass(frozen=True, eq=False)
class Series:
    """Materials on one line of compositions."""

    title: str
    """Formula with the amounts that vary, such as La₂₋ₓSrₓCuO₄."""
    axis: str
    """What `x` counts."""
    rows: NDArray[np.int64]
    """Rows (m,) of the materials, by x."""
    x: Array
    """Amount (m,) of the element that varies, atoms per formula unit."""


def doping_series(formulas: list[str], held_out: Flags) -> list[Series]:
    """The series with most held-out materials, at least `LEAST_IN_SERIES`; the other materials on their lines too.

    Args:
        formulas: (n,).
        held_out: (n,), which of them the models have not seen; those alone decide what is a series.

    Raises:
        UserError: a text that is no formula.
    """
    fractions = element_fractions(formulas)
    largest: dict[frozenset[int], tuple[int, Line]] = {}
    for line, rows in _rows_of_lines(fractions, np.flatnonzero(held_out)).items():
        distinct = len({round(float(_amounts(fractions[row], line)), 4) for row in rows})
        largest[_elements(line)] = max(largest.get(_elements(line), (0, line)), (distinct, line))
    found = sorted((entry for entry in largest.values() if entry[0] >= LEAST_IN_SERIES), key=lambda e: (-e[0], e[1]))
    return [_series(fractions, line) for _, line in found[:MOST_SERIES]]


def _rows_of_lines(fractions: Array, rows: NDArray[np.int64]) -> dict[Line, list[int]]:
    """Rows on every line that at least one of them is on."""
    found = defaultdict(list)
    for row in rows.tolist():
        for line in _lines(fractions[row]):
            found[line].append(row)
    return found


def _lines(fractions: Array) -> Iterator[Line]:
    """All lines on which one composition (E,) lies."""
    present = np.flatnonzero(fractions).tolist()
    for first, second in [*combinations(present, 2), *((element, ALONE) for element in present)]:
        rest = [element for element in present if element not in (first, second)]
        if rest:
            whole = fractions[rest].sum() if second == ALONE else fractions[first] + fractions[second]
            yield first, second, tuple((element, round(float(fractions[element] / whole), 2)) for element in rest)


def _elements(line: Line) -> frozenset[int]:
    first, second, rest = line
    return frozenset({first, second, *(element for element, _ in rest)} - {ALONE})


def _amounts(fractions: Array, line: Line) -> Array:
    """Of the first element in compositions (..., E): its part of both, or its atoms for every other atom."""
    first, second, _ = line
    others = 1 - fractions[..., first] if second == ALONE else fractions[..., first] + fractions[..., second]
    return np.asarray(fractions[..., first] / others)


def _series(fractions: Array, line: Line) -> Series:
    """All materials on a line."""
    elements = np.isin(np.arange(fractions.shape[1]), list(_elements(line)))
    same = np.flatnonzero(((fractions > 0) == elements).all(axis=1))
    rows = np.array([row for row in same.tolist() if line in _lines(fractions[row])])
    rows = rows[np.argsort(_amounts(fractions[rows], line), kind="stable")]
    amounts, unit = _amounts(fractions[rows], line), _formula_unit(fractions[rows], line)
    return _filled(line, rows, amounts, unit) if line[1] == ALONE else _replaced(line, rows, amounts, unit)


def _replaced(line: Line, rows: NDArray[np.int64], amounts: Array, unit: dict[int, float]) -> Series:
    """One element by another; the one with the larger part in most materials is the host."""
    first, second, _ = line
    most_first = bool(np.median(amounts) > 0.5)
    host, new = (first, second) if most_first else (second, first)
    sites = unit[first]
    host_unit = {host: sites, **{element: amount for element, amount in unit.items() if element != first}}
    varying = f"{_symbol(host)}{sites:g}-x{_symbol(new)}x"
    title = _with_amount(_formula(host_unit), _symbol(host), varying)
    x = sites * (1 - amounts if most_first else amounts)
    order = np.argsort(x, kind="stable")
    return Series(title, f"x, {_symbol(new)} per formula unit", rows[order], x[order])


def _filled(line: Line, rows: NDArray[np.int64], amounts: Array, unit: dict[int, float]) -> Series:
    """More or less of one element."""
    symbol = _symbol(line[0])
    title = _with_amount(_formula({**unit, line[0]: 1.0}), symbol, f"{symbol}x")
    return Series(title, f"x, {symbol} per formula unit", rows, amounts * sum(unit.values()))


def _formula_unit(fractions: Array, line: Line) -> dict[int, float]:
    """Atoms of what does not vary; of two elements that replace each other the sum, as the first."""
    first, second, rest = line
    others = {element: fractions[:, element] for element, _ in rest}
    sites = {} if second == ALONE else {first: fractions[:, first] + fractions[:, second]}
    total = sum([*sites.values(), *others.values()])
    return _whole({element: float(np.median(part / total)) for element, part in (sites | others).items()})


def _whole(ratios: dict[int, float]) -> dict[int, float]:
    """The smallest multiple of the ratios in which all amounts are whole; over the least where there is none."""
    least = min(ratios.values())
    for units in range(1, MOST_UNITS + 1):
        amounts = {element: ratio / least * units for element, ratio in ratios.items()}
        if all(abs(amount - round(amount)) <= WHOLE for amount in amounts.values()):
            return {element: float(round(amount)) for element, amount in amounts.items()}
    return {element: ratio / least for element, ratio in ratios.items()}


def _formula(unit: dict[int, float]) -> str:
    """As chemists write it."""
    return chemical_formula(
        parse_formula("".join(f"{_symbol(element)}{amount:.2f}" for element, amount in unit.items()))
    )


def _with_amount(formula: str, symbol: str, varying: str) -> str:
    """The formula with what varies in the place of one element and its amount; all amounts as subscripts."""
    return re.sub(rf"{symbol}(?![a-z])[\d.]*", varying, formula, count=1).translate(SUBSCRIPTS)


def _symbol(element: int) -> str:
    return str(Element.from_Z(element + 1).symbol)
