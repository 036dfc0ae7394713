"""Compositions as numbers: known values, and what must not change them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element

from tc_common.chemistry import FEATURES, FeatureKind, composition_features, feature_names
from tc_common.composition import LAST_Z, chemical_formula, element_fractions, parse_formula
from tc_common.elements import PROPERTIES, continuous_statistics, element_symbols, element_table, valence_electrons
from tc_common.errors import UserError

ROOT = Path(__file__).parents[2]
NAMES = feature_names()
OLD_SUMS = (2118.9533031446445, 843.1295674596397, 734.8530317929005, 1920.8558714115002, 1417.225992845242)


def feature(formula: str, name: str) -> float:
    return float(composition_features([formula])[0, NAMES.index(name)])


@pytest.mark.parametrize("kind", FEATURES)
def test_every_feature_has_one_name(kind: FeatureKind) -> None:
    names = feature_names(kind)
    assert composition_features(["Nb3Sn"], kind).shape == (1, len(names))
    assert len(set(names)) == len(names)


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


def continuous(formula: str, name: str) -> float:
    return float(composition_features([formula], "continuous")[0, feature_names("continuous").index(name)])


def test_continuous_statistics_agree_with_the_others_where_every_element_is_a_main_one() -> None:
    for name in ("mean Z", "deviation Z", "largest fraction", "norm 2", "fraction Nb"):
        assert continuous("Nb3Sn", name) == feature("Nb3Sn", name)
    for name in ("min", "max", "range"):
        assert continuous("Nb3Sn", f"soft {name} Z") == feature("Nb3Sn", f"{name} Z")
    assert continuous("Nb3Sn", "soft elements") == 2
    assert continuous("Nb3Sn", "soft main Z") == pytest.approx((81 * 41 + 50) / 82)


def test_a_dopant_enters_the_soft_extremes_gradually() -> None:
    weight = 0.4**2 * (3 - 2 * 0.4)  # 2 % of the atoms are 0.4 of full weight's 5 %
    assert continuous("Nb0.98Pb0.02", "soft elements") == pytest.approx(1 + weight)
    assert continuous("Nb0.98Pb0.02", "soft max Z") == pytest.approx(82 * weight + 41 * (1 - weight))
    assert continuous("Nb0.98Pb0.02", "soft min Z") == 41
    alloy = composition_features(["".join(element_symbols())], "continuous")
    assert np.isfinite(alloy).all(), "no element of 103 has full weight"


def replaced(symbol: str, fraction: float, by: int) -> np.ndarray:
    """MgB2 with `fraction` of the atoms, all of one element, replaced by the element of index `by`."""
    fractions = element_fractions(["MgB2"])[0]
    fractions[element_symbols().index(symbol)] -= fraction
    fractions[by] += fraction
    return fractions


def steps_from_mgb2(kind: FeatureKind, fraction: float) -> np.ndarray:
    """Largest change of any feature (SD over 3DSC) when an element replaces Mg or B, by its Z; own fraction aside."""
    materials = pd.read_csv(ROOT / "results/3dsc/stratified/splits.csv.gz", keep_default_na=False)
    spread = composition_features(materials["formula"].tolist(), kind).std(axis=0)
    assert len(materials) == 5820
    start = composition_features(["MgB2"], kind)
    largest = []
    for element, symbol in enumerate(element_symbols()):
        doped = FEATURES[kind](np.stack([replaced(host, fraction, element) for host in ("Mg", "B")]))
        counted = (spread > 1e-9) & (np.array(feature_names(kind)) != f"fraction {symbol}")
        largest.append(float((np.abs(doped - start)[:, counted] / spread[counted]).max()))
    return np.array(largest)


def test_a_trace_of_any_element_leaves_the_continuous_features_of_mgb2_where_they_are() -> None:
    assert steps_from_mgb2("continuous", 0.001).max() <= 0.05
    assert steps_from_mgb2("physics", 0.001).max() <= 0.05
    assert (steps_from_mgb2("statistics", 0.001) > 0.5).sum() > 90, "the test sees jumps where there are some"


def test_continuous_features_move_with_the_composition_without_a_jump() -> None:
    path = np.linspace(0, 1, 2001)[:, None]
    start, end = element_fractions(["La2CuO4", "Ba0.6K0.4Fe2As2"])
    features = continuous_statistics(start * (1 - path) + end * path)
    steps = np.abs(np.diff(features, axis=0)).max(axis=0)
    assert (steps <= 0.01 * np.maximum(np.ptp(features, axis=0), 1e-9)).all(), "1/2000 of the way, 1 % at most"


def test_what_the_shipped_models_read_has_not_changed() -> None:
    """Sums over features of five formulas, computed before there were other kinds (commit bdc62a7)."""
    formulas = ["MgB2", "YBa2Cu3O6.93", "La1.85Sr0.15CuO4", "Nb3Sn", "Ba0.6K0.4Fe2As2"]
    found = composition_features(formulas)
    weights = np.cos(np.arange(found.shape[1]))
    assert found @ weights == pytest.approx(OLD_SUMS, rel=1e-12)


@pytest.mark.parametrize(
    ("cell", "formula"),
    [
        ("La3.7Sr0.3Cu2O8", "La1.85Sr0.15CuO4"),
        ("La7SrCu4O16", "La1.75Sr0.25CuO4"),
        ("Y2Ba4Cu8O16", "YBa2Cu4O8"),
        ("O6.93Cu3Ba2Y", "YBa2Cu3O6.93"),
        ("Cu3Ca2Ba2HgO8", "HgBa2Ca2Cu3O8"),
        ("O8Cu2CaSr2Bi2", "Bi2Sr2CaCu2O8"),
        ("BiK0.37Ba0.63O3", "Ba0.63K0.37BiO3"),
        ("As4Fe4K0.8Ba1.2", "Ba0.6K0.4Fe2As2"),
        ("As4Fe4KCa", "CaKFe4As4"),
        ("F0.2O1.8As2Fe2La2", "LaFeAsO0.9F0.1"),
        ("Co0.4Fe3.6As4Ba2", "BaFe1.8Co0.2As2"),
        ("Ce0.3Nd3.7Cu2O8", "Nd1.85Ce0.15CuO4"),
        ("Sr0.9La0.1CuO2", "Sr0.9La0.1CuO2"),
        ("Bi0.25Pb0.75BaO3", "BaPb0.75Bi0.25O3"),
        ("Sn2Nb6", "Nb3Sn"),
        ("Te4Pb4", "PbTe"),
        ("B2Mg", "MgB2"),
        ("H10La", "LaH10"),
        ("In5CoCe", "CeCoIn5"),
        ("Se2Fe1.6K0.8", "K0.8Fe1.6Se2"),
        ("Pb4", "Pb"),
        ("He2", "He"),
        ("O3SiCa0.5Mg0.5", "Ca0.5Mg0.5SiO3"),
        ("O6Si2CaMg", "CaMgSi2O6"),
    ],
)
def test_formulas_are_spelled_as_chemists_write_them(cell: str, formula: str) -> None:
    assert chemical_formula(parse_formula(cell)) == formula
    assert chemical_formula(parse_formula(formula)) == formula, "the spelling of a spelling is itself"
