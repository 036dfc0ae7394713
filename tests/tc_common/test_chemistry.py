"""Features of doping: values worked out by hand, and nothing that jumps."""

import numpy as np
import pytest
from pymatgen.core import Element

from tc_common.chemistry import (
    BLOCK_METALS,
    DOPING,
    GROUPS,
    MAGNETIC_RARE_EARTHS,
    RARE_EARTHS,
    TRANSITION_METALS,
    charges,
    doping_features,
    doping_names,
    indices,
    presence,
)
from tc_common.composition import element_fractions


def feature(formula: str, name: str) -> float:
    return float(doping_features(element_fractions([formula]))[0, doping_names().index(name)])


def test_every_feature_has_one_name_and_says_what_it_means() -> None:
    assert len(set(doping_names())) == len(DOPING) == 87
    assert all(len(each.meaning) >= 7 for each in DOPING)
    assert doping_features(element_fractions(["Nb3Sn", "MgB2"])).shape == (2, len(DOPING))


@pytest.mark.parametrize(
    ("formula", "name", "by_hand"),
    [
        ("YBa2Cu3O6.93", "holes per Cu", (2 * 6.93 - 3 - 2 * 2) / 3 - 2),  # 0.287
        ("YBa2Cu3O6.93", "valence Cu", (2 * 6.93 - 3 - 2 * 2) / 3),
        ("YBa2Cu3O6", "holes per Cu", -1 / 3),  # the chains hold Cu1+
        ("La1.85Sr0.15CuO4", "valence Cu", 8 - 1.85 * 3 - 0.15 * 2),  # 2.15
        ("La1.85Sr0.15CuO4", "holes per Cu", 0.15),
        ("La2CuO4", "holes per Cu", 0.0),
        ("Nd1.85Ce0.15CuO4", "holes per Cu", -0.15),  # electron-doped
        ("HgBa2CuO4.1", "holes per Cu", 0.2),
        ("Ba0.6K0.4Fe2As2", "valence Fe", (6 - 0.6 * 2 - 0.4) / 2),  # 2.2
        ("LaFeAsO0.9F0.1", "valence Fe", 3 + 1.8 + 0.1 - 3),  # 1.9
        ("FeSe", "valence Fe", 2.0),
        ("Ba0.63K0.37BiO3", "valence Bi", 6 - 0.63 * 2 - 0.37),  # 4.37
        ("SrTiO3", "valence Ti", 4.0),
        ("NbN", "valence Nb", 3.0),
        ("Nd0.8Sr0.2NiO2", "valence Ni", 4 - 2.4 - 0.4),  # 1.2, an infinite-layer nickelate
        ("Na0.35CoO2", "valence Co", 3.65),
        ("LiV2O4", "valence V", 3.5),
        ("Nb3Sn", "valence Cu", 0.0),
        ("Al0.5Cu0.5", "holes per Cu", 0.0),  # no oxide
        ("MgB2", "charge", (2 + 2 * 3) / 3),
        ("La1.85Sr0.15CuO4", "charge size", 0.15 / 7),
        ("LaFeAsO0.9F0.1", "charge", (3 + 2 - 3 - 1.8 - 0.1) / 4),
    ],
)
def test_charge_balance_by_hand(formula: str, name: str, by_hand: float) -> None:
    assert feature(formula, name) == pytest.approx(by_hand, abs=1e-9)


def radius(symbol: str) -> float:
    return float(Element(symbol).average_ionic_radius)


@pytest.mark.parametrize(
    ("formula", "name", "by_hand"),
    [
        ("La1.85Sr0.15CuO4", "O per Cu", 4.0),
        ("La1.85Sr0.15CuO4", "Sr per Cu", 0.15),
        ("La1.85Sr0.15CuO4", "rare earths per Cu", 1.85),
        ("La1.85Sr0.15CuO4", "cations per O", 0.5),
        ("Bi2Sr2CaCu2O8", "block metals per Cu", 1.0),
        ("YBa2Cu2.9Zn0.1O7", "impurities per Cu", 0.1 / 2.9),
        ("Gd0.5Y0.5Ba2Cu3O7", "magnetic of rare earths", 0.5),
        ("LaFeAsO0.9F0.1", "F per Fe", 0.1),
        ("LaFeAsO0.9F0.1", "rare earths per Fe", 1.0),
        ("LaFeAsO0.9F0.1", "magnetic rare earths per Fe", 0.0),
        ("BaFe1.8Co0.2As2", "Co per Fe", 0.2 / 1.8),
        ("FeSe0.5Te0.5", "anions per Fe", 1.0),
        ("MgB2", "Mg per B", 0.5),
        ("Mg0.9Al0.1B2", "Al per B", 0.05),
        ("MgB1.9C0.1", "C per B", 0.1 / 1.9),
        ("YRh4B4", "transition metals per B", 1.0),  # yttrium is counted with the rare earths
        ("La1.85Sr0.15CuO4", "A-site radius", (1.85 * radius("La") + 0.15 * radius("Sr")) / 2),
        ("La1.85Sr0.15CuO4", "A-site variance", 0.925 * 0.075 * (radius("Sr") - radius("La")) ** 2),
        ("SmFeAsO", "rare-earth radius", radius("Sm")),
        ("La1.85Sr0.15CuO4", "fraction A site", 2 / 7),
        ("Nb3Sn", "fraction transition metals", 0.75),
        ("FeSe0.5Te0.5", "fraction chalcogens", 0.5),
        ("Nb3Sn", "electrons per transition metal", 5.0),
        ("Nb3Sn", "electrons per atom", (3 * 5 + 14) / 4),  # tin: 5s2 4d10 5p2, the d shell counted
        ("Nb3Sn", "sp electrons per atom", (3 * 1 + 4) / 4),
        ("NbTi", "transition-metal row", 4.5),
        ("Nb3Sn", "transition-metal mass", float(Element("Nb").atomic_mass)),
        ("Nb3Sn", "largest amount", 0.75),
        ("Nb3Sn", "second amount", 0.25),
        ("Nb3Sn", "third amount", 0.0),
        ("Nb3Sn", "second per largest", 1 / 3),
        ("LaFeAsO", "third per second", 1.0),
        ("Nb3Sn", "distance to a simple formula", 0.0),
        ("La1.85Sr0.15CuO4", "distance to a simple formula", 0.15 / 7),
    ],
)
def test_ratios_sites_and_amounts_by_hand(formula: str, name: str, by_hand: float) -> None:
    assert feature(formula, name) == pytest.approx(by_hand, abs=1e-9)


def test_groups_hold_what_they_say() -> None:
    assert {"Nb", "Fe", "Cu", "Hf", "Zn"} - set(TRANSITION_METALS.split()) <= {"Zn"}
    assert not {"Y", "La", "Sc", "Lu", "B"} & set(TRANSITION_METALS.split())
    assert set(MAGNETIC_RARE_EARTHS.split()) < set(RARE_EARTHS.split()) and "Y" not in MAGNETIC_RARE_EARTHS.split()
    assert charges()[indices("La Sr Cu O")].tolist() == [3, 2, 2, -2]
    assert charges()[indices("Pd")[0]] == 0
    assert all(len(set(symbols.split())) == len(symbols.split()) for symbols in (*GROUPS.values(), BLOCK_METALS))


def test_a_feature_of_an_ion_fades_out_with_it() -> None:
    amounts = (0.0, 1e-4, 0.01, 0.025, 0.049, 0.06)
    assert presence(np.array(amounts)) == pytest.approx([0, 1.2e-5, 0.104, 0.5, 0.9988, 1], abs=1e-4)
    faded = [feature(f"Cu{x}O{1 - x}", "O per Cu") for x in (1e-6, 1e-4, 0.01)]
    assert faded == sorted(faded) and faded[0] < 1e-6, "not 10, the largest ratio"


def largest_steps(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Largest change (F,) of each feature between neighbours of so many compositions from one to the other."""
    path = np.linspace(0, 1, count + 1)[:, None]
    features = doping_features(start * (1 - path) + end * path)
    assert np.isfinite(features).all()
    return np.asarray(np.abs(np.diff(features, axis=0)).max(axis=0))


def test_doping_features_move_without_a_jump() -> None:
    ends = element_fractions(["La2CuO4", "Ba0.6K0.4Fe2As2", "MgB2", "Nb", "YBa2Cu2.9Zn0.1O7", "La2CuO4"])
    for start, end in zip(ends, ends[1:], strict=False):
        coarse, fine = largest_steps(start, end, 4000), largest_steps(start, end, 16000)
        assert (fine <= 0.4 * coarse + 1e-9).all(), "a step a quarter as long changes a quarter as much; a jump stays"
