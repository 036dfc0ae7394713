"""Families against the literature, and the two structure types against structures that nearly have them."""

import csv
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from data.families import FAMILIES, family
from data.reading import has_a15_chains, has_boron_honeycomb, shortest_distance_A
from tc_common.composition import fractions, parse_formula
from tc_common.crystals import read_crystal

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
LITERATURE = {
    "cuprate": "La1.85Sr0.15CuO4 YBa2Cu3O6.93 HgBa2Ca2Cu3O8 Bi2Sr2CaCu2O8 Nd1.85Ce0.15CuO4 Ca1.84Na0.16CuO2Cl2",
    "iron-based": "LaFeAsO0.9F0.1 Ba0.6K0.4Fe2As2 FeSe LiFeAs FeSe0.5Te0.5 Sr2VO3FeAs KFe2Se2 Ca10Pt4As8Fe10As10",
    "heavy fermion": "CeCu2Si2 UPt3 UBe13 CeCoIn5 PuCoGa5 PrOs4Sb12 YbRh2Si2 PrTi2Al20",
    "Chevrel": "PbMo6S8 Mo6Se8 Cu2Mo6S8 Mo6S6Br2 PbMo6S6.5O1.5",
    "carbon/fullerene": "K3C60 KC8 CaC6 C",
    "bismuthate/other oxide": "Ba0.6K0.4BiO3 BaPb0.75Bi0.25O3 SrTiO3 LiTi2O4 Sr2RuO4 Na0.35CoO2",
    "hydride": "PdH H3S LaH10 Th4H15",
    "element": "Nb Pb Hg Al",
    "other": "NbN NbTi CaAlSi LuNi2B2C NbSe2 LaOBiS2 LaFe4P12 MoS2 Fe3P BaNi2As2 YNi2B2C",
}


@pytest.mark.parametrize(
    ("name", "formula"), [(name, formula) for name, formulas in LITERATURE.items() for formula in formulas.split()]
)
def test_families_of_the_literature(name: str, formula: str) -> None:
    assert family(fractions(parse_formula(formula)), a15_chains=False, boron_honeycomb=False) == name
    assert name in FAMILIES


def test_structure_types_need_their_composition_and_their_structure() -> None:
    v3si, mgb2 = fractions(parse_formula("V3Si")), fractions(parse_formula("Mg0.9Al0.1B2"))
    assert family(v3si, a15_chains=True, boron_honeycomb=False) == "A15"
    assert family(v3si, a15_chains=False, boron_honeycomb=False) == "other"
    assert family(mgb2, a15_chains=False, boron_honeycomb=True) == "MgB2-like"
    assert family(fractions(parse_formula("W")), a15_chains=True, boron_honeycomb=False) == "element"


def v3si() -> Structure:
    return Structure.from_spacegroup("Pm-3n", Lattice.cubic(4.722), ["Si", "V"], [[0, 0, 0], [0.25, 0, 0.5]])


def test_a15_chains_are_seen_in_any_cell_and_with_doping() -> None:
    assert has_a15_chains(v3si())
    assert has_a15_chains(v3si() * (2, 1, 1))
    doped = v3si()
    doped.replace_species({"Si": {"Si": 0.8, "Ge": 0.2}})
    assert has_a15_chains(doped)


def test_other_a3b_structures_have_no_a15_chains() -> None:
    l12 = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0, 0.5, 0.5]])
    d03 = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.8), ["Si", "Fe", "Fe"], [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]
    )
    assert not has_a15_chains(l12 * (2, 1, 1))
    assert not has_a15_chains(d03)


def test_boron_honeycomb_is_flat_and_threefold() -> None:
    sites = [[0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]
    mgb2 = Structure(Lattice.hexagonal(3.086, 3.524), ["Mg", "B", "B"], sites)
    rhenium = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    boron = [[2 / 3, 1 / 3, 0.048], [2 / 3, 1 / 3, 0.452], [1 / 3, 2 / 3, 0.548], [1 / 3, 2 / 3, 0.952]]
    puckered = Structure(Lattice.hexagonal(2.9, 7.478), ["Re"] * 2 + ["B"] * 4, rhenium + boron)  # ReB2
    cab6 = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.145), ["Ca", "B"], [[0, 0, 0], [0.2, 0.5, 0.5]])
    assert has_boron_honeycomb(mgb2)
    assert has_boron_honeycomb(mgb2 * (2, 1, 1))
    assert not has_boron_honeycomb(puckered)
    assert not has_boron_honeycomb(cab6)
    assert not has_boron_honeycomb(v3si())


def test_shortest_distance_counts_images_of_one_site() -> None:
    assert shortest_distance_A(Structure(Lattice.tetragonal(4, 2.5), ["Cu"], [[0, 0, 0]])) == pytest.approx(2.5)
    assert shortest_distance_A(v3si()) == pytest.approx(4.722 / 2)


# Where the table of the sample groups by relationship and the rules here by definition.
DIFFERENT = {
    "CaAlSi": "an AlB2-type silicide, no boride",
    "SrAlSi": "an AlB2-type silicide, no boride",
    "La2C3": "a carbide with fewer than two carbons to a metal",
    "CeRu2": "a cerium compound, though not heavy",
    "LiV2O4": "heavy electrons of d, not f character; an oxide here",
    "LaNiAsO": "isostructural to an iron-based one, without iron",
    "BaNi2As2": "isostructural to an iron-based one, without iron",
    "BaNi2P2": "isostructural to an iron-based one, without iron",
    "BaCo2As2": "isostructural to an iron-based one, without iron",
}


def test_families_agree_with_those_assigned_by_hand_in_the_sample() -> None:
    expected = {fractions_key(formula) for formula in DIFFERENT}
    with (SAMPLE / "sample.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) >= 120
    differing = {fractions_key(row["formula"]) for row in rows if _family_of(row) != row["family"]}
    assert differing <= expected


def fractions_key(formula: str) -> str:
    return str(fractions(parse_formula(formula)))


def _family_of(row: dict[str, str]) -> str:
    structure = read_crystal(SAMPLE / "cifs" / Path(row["cif"]).name)
    return family(
        fractions(parse_formula(row["formula"])),
        a15_chains=has_a15_chains(structure),
        boron_honeycomb=has_boron_honeycomb(structure),
    )
