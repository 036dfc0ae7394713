"""Doping series: which materials are on one line of compositions, and how the line is written."""

import numpy as np
import pytest

from comparison.series import doping_series
from tc_common.errors import UserError

STRONTIUM = [f"La{2 - x:g}Sr{x:g}CuO4" for x in (0.3, 0.05, 0.1, 0.15, 0.2, 0.25)]
OXYGEN = [f"Cu1Hg1Ba2O{y:g}" for y in (4.05, 4.1, 4.15, 4.2, 4.25, 4.3)]


def all_held_out(formulas: list[str]) -> np.ndarray:
    return np.full(len(formulas), True)


def test_a_replaced_element_is_a_series_by_its_amount() -> None:
    formulas = [*STRONTIUM, "La2CuO4", "LaSrCuO3", "YBa2Cu3O7"]
    (series,) = doping_series(formulas, all_held_out(formulas))
    assert series.title == "La₂₋ₓSrₓCuO₄" and series.axis == "x, Sr per formula unit"
    assert [formulas[row] for row in series.rows] == [*STRONTIUM[1:], STRONTIUM[0]], "no LaSrCuO3: less oxygen"
    assert series.x == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_more_or_less_of_one_element_is_a_series() -> None:
    (series,) = doping_series(OXYGEN, all_held_out(OXYGEN))
    assert series.title == "HgBa₂CuOₓ" and series.x == pytest.approx([4.05, 4.1, 4.15, 4.2, 4.25, 4.3])


def test_the_host_is_what_most_materials_have_more_of() -> None:
    formulas = [f"Ba{1 - x:g}K{x:g}Fe2As2" for x in (0.1, 0.2, 0.3, 0.4, 0.6, 0.9)]
    assert doping_series(formulas, all_held_out(formulas))[0].title == "Ba₁₋ₓKₓFe₂As₂"
    turned = [f"K{1 - x:g}Ba{x:g}Fe2As2" for x in (0.1, 0.2, 0.3, 0.4, 0.6, 0.9)]
    assert doping_series(turned, all_held_out(turned))[0].title == "K₁₋ₓBaₓFe₂As₂"


def test_held_out_materials_alone_make_a_series_and_training_materials_are_on_it_too() -> None:
    held_out = np.array([True] * 5 + [False])
    assert doping_series(STRONTIUM, held_out) == [], "five held out: too few"
    more = [*STRONTIUM, "La1.6Sr0.4CuO4"]
    (series,) = doping_series(more, np.array([True] * 6 + [False]))
    assert len(series.rows) == 7 and series.x[-1] == pytest.approx(0.4)


def test_repeated_compositions_count_once() -> None:
    formulas = [*STRONTIUM[:5], STRONTIUM[0]]
    assert doping_series(formulas, all_held_out(formulas)) == []


def test_the_largest_series_come_first_one_of_each_system_at_most_eight() -> None:
    hosts = ("Y", "Nd", "Sm", "Gd", "Dy", "Ho", "Er", "Tm", "Yb")
    many = [f"{host}{1 - x:g}Ca{x:g}Ba2Cu3O7" for host in hosts for x in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)]
    formulas = [*many, *STRONTIUM, "La1.65Sr0.35CuO4"]
    found = doping_series(formulas, all_held_out(formulas))
    assert len(found) == 8 and found[0].title == "La₂₋ₓSrₓCuO₄"
    assert len({series.title for series in found}) == 8


def test_a_text_that_is_no_formula_is_refused() -> None:
    with pytest.raises(UserError, match="is no chemical formula"):
        doping_series(["<b>"], np.array([True]))
