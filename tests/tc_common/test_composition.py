"""Compositions as numbers: known values, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element

from tc_common.composition import (
    LAST_Z,
    PROPERTIES,
    composition_features,
    element_fractions,
    element_table,
    feature_names,
    valence_electrons,
)
from tc_common.errors import UserError

NAMES = feature_names()


def feature(formula: str, name: str) -> float:
    return float(composition_features([formula])[0, NAMES.index(name)])


def test_every_feature_has_one_name() -> None:
    assert composition_features(["Nb3Sn"]).shape == (1, len(NAMES))
    assert len(set(NAMES)) == len(NAMES)


def test_statistics_of_nb3sn_by_hand() -> None:
    z = {"Nb": 41, "Sn": 50}
    assert feature("Nb3Sn", "mean Z") == pytest.approx(0.75 * z["Nb"] + 0.25 * z["Sn"])
    assert feature("Nb3Sn", "deviation Z") == pytest.approx(2 * 0.75 * 0.25 * 9)
    assert [feature("Nb3Sn", f"{name} Z") for name in ("min", "max", "range", "main")] == [41, 50, 9, 41]
    assert feature("Nb3Sn", "mean atomic_mass") == pytest.approx(0.75 * 92.906 + 0.25 * 118.71, abs=1e-3)
    assert feature("Nb3Sn", "elements") == 2
    assert feature("Nb3Sn", "fraction Nb") == 0.75
    assert feature("Nb3Sn", "norm 2") == pytest.approx((0.75**2 + 0.25**2) ** 0.5)


def test_doping_moves_the_features() -> None:
    parent, doped = composition_features(["La2CuO4", "La1.85Sr0.15CuO4"])
    column = NAMES.index("fraction Sr")
    assert (parent[column], doped[column]) == (0, pytest.approx(0.15 / 7))
    assert not np.allclose(parent, doped)


@given(
    st.lists(st.sampled_from(["Nb", "Sn", "O", "Cu", "La"]), min_size=1, max_size=5, unique=True), st.integers(1, 9)
)
def test_order_and_size_of_the_formula_unit_do_not_matter(symbols: list[str], times: int) -> None:
    amounts = range(1, len(symbols) + 1)
    formula = "".join(f"{s}{k}" for s, k in zip(symbols, amounts, strict=True))
    other = "".join(f"{s}{times * k}" for s, k in reversed(list(zip(symbols, amounts, strict=True))))
    one, two = composition_features([formula, other])
    main = np.array([name.startswith("main") for name in NAMES])
    assert np.allclose(one[~main], two[~main])


@pytest.mark.parametrize(
    ("symbol", "electrons"),
    [("H", (1, 0, 0, 0)), ("O", (2, 4, 0, 0)), ("Nb", (1, 0, 4, 0)), ("Cu", (1, 0, 10, 0)), ("Ce", (2, 0, 1, 1)),
     ("Pb", (2, 2, 10, 14)), ("La", (2, 0, 1, 0))],
)  # fmt: skip
def test_valence_electrons_of_neutral_atoms(symbol: str, electrons: tuple[int, ...]) -> None:
    assert tuple(valence_electrons(Element(symbol)).values()) == electrons


def test_the_element_table_is_whole_and_holds_no_answer() -> None:
    table = element_table()
    assert table.shape == (LAST_Z, len(PROPERTIES) + 8)
    assert np.isfinite(table).all()
    assert not any("supercond" in name for name in NAMES)


def test_deuterium_counts_as_hydrogen() -> None:
    assert np.array_equal(element_fractions(["PdD"]), element_fractions(["PdH"]))


@pytest.mark.parametrize("formula", ["", "Xx2O", "2", "Nb-1Sn", "Nb0", "not a formula", "Og2"])
def test_what_is_no_formula_is_named(formula: str) -> None:
    with pytest.raises(UserError, match=f"'{formula}' is no"):
        composition_features(["Nb3Sn", formula])
