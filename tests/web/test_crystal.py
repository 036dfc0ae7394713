"""What the viewer is given: counted and measured against crystals that everybody knows."""

import pytest
from starlette.testclient import TestClient

from dinov3_pipeline.render.atoms import find_bonds
from tc_common.crystals import CrystalError, read_crystal
from tests.web.made import LSCO, MGB2, ROOT
from web.crystal import describe, read_upload
from web.uploads import Upload


def test_magnesium_diboride_is_described_as_in_the_books(client: TestClient) -> None:
    found = client.post("/api/crystal", files={"file": ("MgB2.cif", MGB2)}).json()
    assert found["formula"] == "MgB2" and found["space_group"] == {"symbol": "P6/mmm", "number": 191}
    assert found["cell"] == {"a": 3.086, "b": 3.086, "c": 3.524, "alpha": 90, "beta": 90, "gamma": 120}
    assert found["density_g_cm3"] == pytest.approx(2.62, abs=0.01)
    boron = [n for n, site in enumerate(found["sites"]) if "B" in site["occupancies"]]
    assert len(boron) == 2 and found["sites"][boron[0]]["kind"] == found["sites"][boron[1]]["kind"]
    between = [row for row in found["bonds"] if row[0] in boron and row[1] in boron]
    assert len(between) == 3, "each boron has three boron neighbours, each bond is listed once"


def test_a_shared_site_keeps_its_occupancies_and_colours(client: TestClient) -> None:
    structure = read_upload(Upload("a.cif", LSCO))
    found = describe(structure)
    mixed = [site for site in found["sites"] if len(site["occupancies"]) == 2]
    assert len(mixed) == 4 and mixed[0]["occupancies"] == {"La": 0.925, "Sr": 0.075}
    assert found["elements"]["O"] == {"name": "Oxygen", "color": [255, 13, 13], "radius_A": 0.6}
    copper = next(site for site in found["sites"] if "Cu" in site["occupancies"])
    assert copper["seen"] == [229, 234, 108], "the renderer's own colour of copper"


def test_every_bond_of_the_pictures_is_drawn_once() -> None:
    structure = read_crystal(ROOT / "data/sample/cifs/Nb3Sn-Cr3Si.cif")
    bonds, listed = find_bonds(structure, "crystal-nn"), describe(structure)["bonds"]
    assert len(listed) == len(bonds.center) / 2 == len({tuple(row) for row in listed})


def test_sites_are_labelled_as_a_substitution_names_them() -> None:
    sites = describe(read_crystal(ROOT / "data/sample/cifs/YBa2Cu3O6.45-YBa2Cu3O7.cif"))["sites"]
    copper = {site["label"]: site["kind"] for site in sites if "Cu" in site["occupancies"]}
    assert [*copper] == ["Cu1", "Cu2", "Cu3"]
    assert sorted(list(copper.values()).count(kind) for kind in set(copper.values())) == [1, 2], "chain and planes"


def test_a_vacancy_is_what_is_missing_from_one() -> None:
    structure = read_crystal(ROOT / "data/sample/cifs/YBa2Cu3O6.45-YBa2Cu3O7.cif")
    open_sites = [site for site in describe(structure)["sites"] if sum(site["occupancies"].values()) < 0.99]
    assert [site["occupancies"]["O"] for site in open_sites] == [pytest.approx(0.45)]


def test_a_file_that_is_none_is_refused() -> None:
    with pytest.raises(CrystalError, match="no CIF"):
        read_upload(Upload("a.cif", b"%PDF-1.7"))
