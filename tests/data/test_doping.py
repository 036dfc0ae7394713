"""Artificial doping: which sites change, and that the composition is the wanted one to the last atom."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from data.doping import amounts, doped
from tc_common.composition import element_fractions

FORMULAS = [
    "Nb3Sn",
    "MgB2",
    "La1.85Sr0.15CuO4",
    "YBa2Cu3O6.9",
    "LaFeAsO0.9F0.1",
    "CeFeAsO",
    "Bi2Sr2CaCu2O8.2",
    "Pb",
    "PdH0.7",
    "NbCd0.3D0.2",
]


def fractions(formula: str) -> np.ndarray:
    return np.asarray(element_fractions([formula])[0])


def crystal(*sites: dict[str, float] | str) -> Structure:
    frac = np.linspace(0, 0.9, len(sites))[:, None] * np.ones(3)
    return Structure(Lattice.cubic(4), list(sites), frac)


def occupancies(structure: Structure) -> list[dict[str, float]]:
    return [{element.symbol: round(float(n), 6) for element, n in site.species.items()} for site in structure]


LA2CUO4 = crystal("La", "La", "Cu", "O", "O", "O", "O")
YBCO = crystal("Y", "Ba", "Ba", "Cu", "Cu", "Cu", *["O"] * 7)


def test_dopants_go_to_the_atoms_that_there_are_too_many_of() -> None:
    found = occupancies(doped(LA2CUO4, fractions("La1.85Sr0.15CuO4")))
    assert found[:2] == [{"La": 0.925, "Sr": 0.075}] * 2
    assert found[2:] == [{"Cu": 1.0}, *[{"O": 1.0}] * 4]


def test_fewer_atoms_are_vacancies() -> None:
    found = occupancies(doped(YBCO, fractions("YBa2Cu3O6.3")))
    assert found == [{"Y": 1.0}, *[{"Ba": 1.0}] * 2, *[{"Cu": 1.0}] * 3, *[{"O": 0.9}] * 7]
    assert occupancies(doped(crystal("Pd", "H"), fractions("PdH0.7"))) == [{"Pd": 1.0}, {"H": 0.7}]


def test_metals_take_each_others_sites() -> None:
    assert occupancies(doped(crystal({"Nb": 0.7, "Ti": 0.3}), fractions("Nb0.6Ti0.4"))) == [{"Nb": 0.6, "Ti": 0.4}]
    assert occupancies(doped(crystal("Nb", "Sn"), fractions("Nb1.2Sn0.8"))) == [{"Nb": 1.0}, {"Sn": 0.8, "Nb": 0.2}]


def test_an_element_without_atoms_left_is_replaced_by_the_most_similar() -> None:
    found = occupancies(doped(crystal("La", "Fe", "As", "O"), fractions("CeFeAsO0.9F0.1")))
    assert found == [{"Ce": 1.0}, {"Fe": 1.0}, {"As": 1.0}, {"O": 0.9, "F": 0.1}]
    both = occupancies(doped(crystal("La", "O"), fractions("CeS")))
    assert both == [{"Ce": 1.0}, {"S": 1.0}], "the metal takes the metal's place"


def test_empty_sites_are_left_out() -> None:
    assert occupancies(doped(crystal("Pd", "H"), fractions("Pd"))) == [{"Pd": 1.0}]


def test_atoms_that_no_site_is_free_for_leave_every_site_filled_at_most_once() -> None:
    found = doped(LA2CUO4, fractions("La2CuO4.2"))
    assert max(site.species.num_atoms for site in found) <= 1 + 1e-9
    assert amounts(found).sum() == pytest.approx(7)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    "template",
    [LA2CUO4, YBCO, crystal("Nb"), crystal({"Pd": 0.7, "D": 0.2}, "H"), crystal({"La": 0.5, "Sr": 0.5}, {"O": 0.3})],
    ids=lambda structure: structure.composition.reduced_formula,
)
def test_any_crystal_gets_any_composition(template: Structure, formula: str) -> None:
    before = occupancies(template)
    found = doped(template, fractions(formula))
    assert amounts(found) / amounts(found).sum() == pytest.approx(fractions(formula), abs=1e-5)
    assert all(0 < site.species.num_atoms <= 1 + 1e-6 for site in found)
    assert occupancies(template) == before, "the template stays as it is"
