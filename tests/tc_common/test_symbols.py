"""Symbols and labels as real files write them: one element, a mixture with its amounts, a vacancy, or refused."""

import pytest

from tc_common.crystals import CrystalError
from tc_common.symbols import species, species_of_label
from tests.tc_common.test_crystals import cell, parse_crystal

MIXED = {"La": 0.9, "Sr": 0.1}


@pytest.mark.parametrize("symbol", ["Cu", "cu", "Cu2+", "Cu+2", "Cu1", "Cu2.15+", "Cu(II)", "63Cu", "Cu*", "Cu1A"])
def test_one_element_with_charge_isotope_or_number(symbol: str) -> None:
    assert species(symbol) == (("Cu", 1.0),)


@pytest.mark.parametrize(
    "symbol",
    [
        "La0.9Sr0.1",
        "La.9Sr.1",
        "0.9La + 0.1Sr",
        "0.9La+0.1Sr",
        "0.9La3+ + 0.1Sr2+",
        "La0.9/Sr0.1",
        "La0.9,Sr0.1",
        "La0.9 Sr0.1",
        "(La0.9Sr0.1)",
        "La:0.9 Sr:0.1",
    ],
)
def test_a_mixture_that_gives_its_amounts(symbol: str) -> None:
    assert dict(species(symbol)) == MIXED


@pytest.mark.parametrize("symbol", ["Va", "vac", "Vacancy", "V_O", "V_Nb", "Va1"])
def test_vacancies_are_no_vanadium(symbol: str) -> None:
    assert species(symbol) == ()
    assert species("V") == species("V3+") == (("V", 1.0),)


@pytest.mark.parametrize(
    "symbol",
    [
        "La/Sr",
        "La,Sr",
        "La+Sr",
        "La-Sr",
        "LaSr",
        "T",
        "T1",
        "M1",
        "OH",
        "H2O",
        "NH4",
        "Wat",
        "Xx",
        "Fe2O3",
        "CU",
        "La9Sr1",
    ],
)
def test_what_names_no_one_element_is_refused(symbol: str) -> None:
    with pytest.raises(CrystalError, match="no element"):
        species(symbol)


def test_capitals_are_symbols_only_in_files_that_write_all_so() -> None:
    assert species("SR", upper=True) == (("Sr", 1.0),)
    rows = "SR 0 0 0 1\nTI 0.5 0.5 0.5 1"
    assert parse_crystal(cell(rows)).composition.as_dict() == {"Sr": 1, "Ti": 1}
    with pytest.raises(CrystalError, match="'HO' is no element"):
        parse_crystal(cell("HO 0 0 0 1\nCu 0.5 0.5 0.5 1"))


@pytest.mark.parametrize(
    ("label", "element"),
    [("Nb1", "Nb"), ("SrM1", "Sr"), ("SiT2", "Si"), ("CaX", "Ca"), ("O1W", "O"), ("Cu(1)", "Cu"), ("O'", "O"),
     ("Mg_A", "Mg"), ("SR1", "Sr"), ("11B", "B"), ("Cu2+", "Cu")],
)  # fmt: skip
def test_labels_name_their_element(label: str, element: str) -> None:
    assert species_of_label(label, frozenset()) == ((element, 1.0),)


@pytest.mark.parametrize(
    "label", ["La/Sr1", "Nb,Zr", "LaSr1", "La_Sr1", "T1", "M1", "OH1", "OW", "Wat1", "Q1", "NbTi", "TET"]
)
def test_labels_of_several_elements_or_none_are_refused(label: str) -> None:
    with pytest.raises(CrystalError, match="give _atom_site_type_symbol"):
        species_of_label(label, frozenset())


def test_the_formula_tells_calcium_from_carbon() -> None:
    assert species_of_label("CA1", frozenset({"Ca", "N"})) == (("Ca", 1.0),)
    assert species_of_label("CA1", frozenset({"C", "N"})) == (("C", 1.0),)
    with pytest.raises(CrystalError, match="may be Ca or C"):
        species_of_label("CA1", frozenset())


def test_a_mixture_and_its_occupancy_do_not_count_twice() -> None:
    half = parse_crystal(cell("0.5La+0.3Sr 0 0 0 0.8", columns="type_symbol fract_x fract_y fract_z occupancy"))
    assert half.composition.as_dict() == {"La": 0.5, "Sr": 0.3}
    with pytest.raises(CrystalError, match="contradicts the symbol"):
        parse_crystal(cell("0.5La+0.3Sr 0 0 0 0.6"))
