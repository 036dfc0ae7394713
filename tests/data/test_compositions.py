"""Formulas and the distance between compositions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc_common.composition import composition_key, formula_distance, fractions, nearest_distance, parse_formula
from tc_common.errors import UserError

shares = st.dictionaries(st.sampled_from(["Cu", "O", "La", "Sr", "Fe", "As"]), st.floats(0.01, 1), min_size=1).map(
    lambda amounts: {element: amount / sum(amounts.values()) for element, amount in amounts.items()}
)


@given(shares, shares, shares)
def test_distance_is_a_metric_between_0_and_1(a: dict[str, float], b: dict[str, float], c: dict[str, float]) -> None:
    assert formula_distance(a, a) == 0
    assert formula_distance(a, b) == pytest.approx(formula_distance(b, a))
    assert 0 <= formula_distance(a, b) <= 1 + 1e-12
    assert formula_distance(a, c) <= formula_distance(a, b) + formula_distance(b, c) + 1e-12


def test_distance_is_the_share_of_atoms_to_exchange() -> None:
    pure, doped = fractions(parse_formula("La2CuO4")), fractions(parse_formula("La1.85Sr0.15CuO4"))
    assert formula_distance(pure, doped) == pytest.approx(0.15 / 7)
    assert formula_distance(pure, fractions(parse_formula("MgB2"))) == pytest.approx(1)


def test_one_composition_has_one_key_however_it_is_written() -> None:
    def key(formula: str) -> str:
        return composition_key(fractions(parse_formula(formula)))

    assert key("Nb3Sn") == key("Sn1Nb3") == key("Nb0.75Sn0.25") == key("Nb6Sn2")
    # Neighbours in SuperCon, with Tc of 0 K and 78 K.
    assert key("Bi2Ca1Cu2Sr2O8.215") != key("Bi2Ca1Cu2Sr2O8.216")


def test_heavy_hydrogen_is_hydrogen() -> None:
    assert fractions(parse_formula("PdD")) == {"H": 0.5, "Pd": 0.5}


@pytest.mark.parametrize(
    "formula",
    ["", "Zz2", "X", "cu", "Cu(", "Cu)2", "Cu..2", "Cu0", "Cu-1", "H2O; rm -rf", "Cu\n", "A" * 300, "Cu1e400"],
)
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(UserError, match="no chemical formula"):
        parse_formula(formula)


@given(st.text(alphabet="ABCHOSPa0123456789.()[]e-+{} ", max_size=40))
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    try:
        assert sum(fractions(parse_formula(text)).values()) == pytest.approx(1)
    except UserError as error:
        assert "no chemical formula" in str(error)


def test_distances_agree_with_those_of_formulas() -> None:
    some, others = ["MgB2", "Mg0.9Al0.1B2", "NbTi"], ["MgB2", "Nb0.6Ti0.4", "La2CuO4"]
    by_hand = [min(formula_distance(*(fractions(parse_formula(f)) for f in (a, b))) for b in others) for a in some]
    assert nearest_distance(some, others) == pytest.approx(by_hand)
    assert nearest_distance(some, []).tolist() == [1, 1, 1] and len(nearest_distance([], others)) == 0
