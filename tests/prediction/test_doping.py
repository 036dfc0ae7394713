"""Doping series: amounts by hand, vacancies, mixed sites, and what was measured along them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition, Lattice, Structure

from prediction import Predictor, load_predictor
from prediction.doping import ON_THE_LINE, nearest_on_line, parse_series, site_labels, substituted
from prediction.known import KnownCompounds
from tc_common.composition import chemical_formula, element_fractions, fractions, parse_formula
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tests.prediction.conftest import ShippedStudy

CIFS = Path(__file__).parents[2] / "data/sample/cifs"


@pytest.fixture(scope="module")
def predictor(shipped: ShippedStudy) -> Predictor:
    return load_predictor(shipped.models)


@pytest.fixture(scope="module")
def la2cuo4() -> Structure:
    return read_crystal(CIFS / "La2CuO4-La2CuO4.cif")


@pytest.mark.parametrize(
    ("old", "new", "fraction", "formula"),
    [
        ("La", "Sr", 0.075, "La1.85Sr0.15CuO4"),
        ("La", "Sr", 0.0, "La2CuO4"),
        ("La", "Sr", 1.0, "Sr2CuO4"),
        ("O", "", 0.25, "La2CuO3"),
        ("O", "", 1.0, "La2Cu"),
        ("Cu", "Zn", 0.02, "La2Cu0.98Zn0.02O4"),
    ],
)
def test_a_fraction_of_an_element_is_replaced_everywhere(
    la2cuo4: Structure, old: str, new: str, fraction: float, formula: str
) -> None:
    changed = substituted(la2cuo4, old, new, fraction)
    assert chemical_formula(changed) == formula
    assert changed.lattice == la2cuo4.lattice
    assert chemical_formula(la2cuo4) == "La2CuO4", "the crystal itself is not changed"


def test_an_element_of_a_mixed_site_is_replaced_and_its_partner_stays() -> None:
    mixed = read_crystal(CIFS / "La1.85Sr0.15CuO4-K2NiF4.cif")
    assert chemical_formula(substituted(mixed, "Sr", "Ba", 1.0)) == "La1.85Ba0.15CuO4"
    assert chemical_formula(substituted(mixed, "Sr", "La", 1.0)) == "La2CuO4"
    assert chemical_formula(substituted(mixed, "La", "Sr", 0.1)) == "La1.665Sr0.335CuO4"
    gone = substituted(mixed, "Sr", "", 1.0)
    assert gone.composition.num_atoms == pytest.approx(mixed.composition.num_atoms - mixed.composition["Sr"])
    assert len(gone) == len(mixed), "the site keeps its lanthanum"


def test_one_site_is_replaced_by_its_label() -> None:
    crystal = Structure(Lattice.cubic(4.2), ["Mg", "O", "Mg"], [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0]])
    assert site_labels(crystal) == ["Mg1", "O1", "Mg2"]
    changed = substituted(crystal, "Mg2", "Ca", 0.5)
    assert changed[2].species == Composition({"Mg": 0.5, "Ca": 0.5})
    assert changed[0].species == Composition("Mg") and len(substituted(crystal, "Mg2", "", 1.0)) == 2


def test_sites_of_one_element_are_replaced_together_and_no_others() -> None:
    crystal = Structure(
        Lattice.cubic(4.2),
        ["Cu", "O", "Cu", "Cu"],
        [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.0, 0.0]],
    )
    old, new, wanted = parse_series("Cu2+Cu3=Zn:0:0.1:2")
    changed = substituted(crystal, old, new, wanted[1])
    assert [site.species.get("Zn", 0.0) for site in changed] == pytest.approx([0, 0, 0.1, 0.1])
    assert (
        substituted(crystal, "Cu1+Cu2+Cu3", "Zn", 0.3).composition == substituted(crystal, "Cu", "Zn", 0.3).composition
    )


@pytest.mark.parametrize(
    ("old", "new", "wanted", "message"),
    [
        ("Cu1+O1", "Zn", [0.1], "'Cu1.O1' names sites of Cu and O; replace one element at a time"),
        ("Cu1+Cu9", "Zn", [0.1], "'Cu9' is neither an element of La2CuO4 nor one of its sites"),
        ("La", "Sr", [0.1, 1.2], r"a fraction of 1.2 is outside \[0, 1\]"),
        ("La", "Sr", [float("nan")], r"outside \[0, 1\]"),
        ("La", "Sr", [], "0 fractions"),
        ("Y", "Sr", [0.1], "'Y' is neither an element of La2CuO4 nor one of its sites"),
        ("La", "Qq", [0.1], "'Qq' is no element"),
        ("La", "La", [0.1], "'La' is no element to put in place of La"),
        ("La", "Sr2", [0.1], "'Sr2' is no element"),
        ("La99", "Sr", [0.1], "neither an element"),
    ],
)
def test_what_cannot_be_substituted_is_one_line(
    predictor: Predictor, la2cuo4: Structure, old: str, new: str, wanted: list[float], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        predictor.substitute(la2cuo4, old, new, wanted)
    assert len(str(refused.value).splitlines()) == 1


def test_a_crystal_cannot_lose_all_its_atoms(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="nothing is left of Nb"):
        predictor.substitute(CIFS / "Nb-W.cif", "Nb", "", [0.5, 1.0])


def test_a_series_is_what_each_of_its_crystals_is_alone(predictor: Predictor, la2cuo4: Structure) -> None:
    series = predictor.substitute(la2cuo4, "La", "Sr", [0, 0.05, 0.1])
    for fraction, each in zip(series.fractions, series.predictions, strict=True):
        alone = predictor.predict(substituted(la2cuo4, "La", "Sr", fraction))
        assert each.tc_K == pytest.approx(alone.tc_K, abs=1e-4)
    assert series.predictions[1].name == "La=Sr:0.05"
    assert series.table().columns.tolist() == ["fraction", "formula", "tc_K", "lower_K", "upper_K", "measured_K"]
    plain = series.to_dict()
    assert [plain["old"], plain["new"], plain["fractions"]] == ["La", "Sr", [0.0, 0.05, 0.1]]
    assert len(plain["predictions"]) == 3 and set(plain["measured"][0]) == {"fraction", "tc_K", "formula"}


def test_measured_compounds_are_those_on_the_line(predictor: Predictor, la2cuo4: Structure) -> None:
    rows = {"La2CuO4": 0.0, "Sr0.15La1.85CuO4": 37.0, "La1.8Sr0.2Cu1O4": 31.0, "La2CuO4.03": 36.0, "YBa2Cu3O7": 92.0}
    table = pd.DataFrame({"formula": [*rows], "tc": [*rows.values()], "entries": 1, "source": "made"})
    table["lowest"] = table["highest"] = table["tc"]
    known = KnownCompounds(table, element_fractions([*rows]).astype(np.float32))
    series = replace(predictor, known_compounds=known).substitute(la2cuo4, "La", "Sr", [0, 0.1])
    assert series.measured == (
        (pytest.approx(0, abs=1e-5), 0.0, "La2CuO4"),
        (pytest.approx(0.075, abs=1e-5), 37.0, "La1.85Sr0.15CuO4"),
        (pytest.approx(0.1, abs=1e-5), 31.0, "La1.8Sr0.2CuO4"),
    )


def test_the_nearest_point_of_a_line_is_found_with_vacancies_too() -> None:
    first, last = Composition("YBa2Cu3O7"), Composition("YBa2Cu3O6")
    fraction, distance = nearest_on_line(fractions(parse_formula("YBa2Cu3O6.4")), first, last)
    assert fraction == pytest.approx(0.6, abs=1e-4) and distance < 1e-6
    assert nearest_on_line(fractions(parse_formula("YBa2Cu3O8")), first, last)[0] == pytest.approx(0, abs=1e-4)
    assert nearest_on_line(fractions(parse_formula("GdBa2Cu3O7")), first, last)[1] > ON_THE_LINE


def test_series_are_written_as_text() -> None:
    assert parse_series("La=Sr:0:0.4:3") == ("La", "Sr", pytest.approx([0, 0.2, 0.4]))
    assert parse_series("O=:0:0.1:2") == ("O", "", pytest.approx([0, 0.1]))
    for wrong in ("La=Sr", "La=Sr:0:0.4", "La=Sr:0:x:3", "=Sr:0:1:3", "La=Sr:0:1:99999", "La=Sr:0:1e:3"):
        with pytest.raises(UserError, match="is no series; write OLD=NEW:FROM:TO:COUNT"):
            parse_series(wrong)
