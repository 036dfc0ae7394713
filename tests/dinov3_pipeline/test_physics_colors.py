"""Colours against numbers worked out by hand and against pymatgen's electron configurations."""

import numpy as np
import pytest
from pymatgen.core import DummySpecies, Element, Species

from dinov3_pipeline.render.atoms import (
    D_ELECTRONS,
    chemical_symbol,
    element_color,
    phonon_proxy,
    site_color,
    to_uint8,
    valence_electrons,
)
from tc_common.crystals import CrystalError


@pytest.mark.parametrize(
    ("symbol", "rgb"),
    [
        ("Cu", (229, 234, 108)),
        ("Fe", (153, 170, 115)),
        ("H", (0, 21, 255)),
        ("B", (0, 64, 229)),
        ("O", (0, 127, 204)),  # 255 * 6 / 12 = 127.5: halves go down
        ("Zn", (255, 255, 106)),
        ("Ce", (0, 64, 73)),  # f block: no red, three valence electrons
        ("La", (25, 64, 73)),  # group 3: one 5d electron
        ("Ba", (0, 42, 73)),
    ],
)
def test_a_pure_site_has_the_documented_color(symbol: str, rgb: tuple[int, int, int]) -> None:
    assert tuple(site_color({symbol: 1.0}).tolist()) == rgb


def test_d_electrons_are_those_of_the_neutral_ground_state() -> None:
    for element in (e for e in Element if 3 <= e.group <= 12 and not 58 <= e.Z <= 70 and not 90 <= e.Z <= 103):
        if element.Z > 103:  # beyond Lr pymatgen repeats the configuration of the element above
            continue
        shells = [shell for shell in element.full_electronic_structure if shell[1] == "d"]
        # A closed d shell below an f shell is core: Lu, Hf, … count only the outermost d shell.
        outermost = max(shells)[2] if shells else 0
        expected = 9 if element.symbol == "Cu" else outermost
        assert D_ELECTRONS[element.symbol] == expected, element.symbol


def test_elements_outside_groups_3_to_12_have_no_red() -> None:
    assert {e.symbol for e in Element if element_color(e.symbol)[0] > 0} == set(D_ELECTRONS)
    assert all(3 <= Element(symbol).group <= 12 for symbol in D_ELECTRONS)


@pytest.mark.parametrize(
    ("symbol", "count"), [("Na", 1), ("Mg", 2), ("Nb", 5), ("Zn", 12), ("Al", 3), ("U", 3), ("Ar", 8)]
)
def test_valence_electrons(symbol: str, count: int) -> None:
    assert valence_electrons(Element(symbol)) == count


def test_lighter_atoms_are_bluer_and_heavy_ones_follow_the_inverse_root_of_the_mass() -> None:
    masses_u = np.linspace(1, 250, 500)
    blue = np.array([phonon_proxy(mass_u) for mass_u in masses_u])
    assert (np.diff(blue) < 0).all()
    assert blue.max() < 1
    assert phonon_proxy(200) / phonon_proxy(50) == pytest.approx(0.5, rel=5e-3)


def test_a_mixed_site_shows_the_mean_and_a_vacancy_dims_it() -> None:
    # 255 * (0.7 * d, 0.7 * g, 0.7 * b) of Cu and Fe weighted 0.75 : 0.25, by hand
    copper, iron = (np.array(element_color(symbol)) for symbol in ("Cu", "Fe"))
    expected = np.ceil(255 * (0.75 * copper + 0.25 * iron) - 0.5)
    assert site_color({"Cu": 0.75, "Fe": 0.25}).tolist() == expected.tolist() == [210, 218, 109]
    assert site_color({"Cu": 0.5}).tolist() == [115, 117, 54]


def test_values_on_a_half_go_down_whatever_the_round_off() -> None:
    halves = (np.arange(255) + 0.5) / 255
    assert to_uint8(halves).tolist() == list(range(255))
    assert to_uint8(halves + 1e-6).tolist() == list(range(1, 256))


def test_what_exceeds_the_scale_is_its_end_and_never_wraps_around() -> None:
    """Occupancies may add up to 1.02 (rounded in the CIF): Zn's red would be 260, which as a byte is 4."""
    assert site_color({"Zn": 1.02}).tolist()[:2] == [255, 255]
    assert to_uint8(np.array([-0.5, 2.0])).tolist() == [0, 255]


def test_charges_do_not_matter_and_placeholders_are_refused() -> None:
    assert chemical_symbol(Species("Cu", 2)) == "Cu"
    with pytest.raises(CrystalError, match="no element"):
        chemical_symbol(DummySpecies("X"))
