"""The shipped sample is chemistry: symmetry, formula, distances, density and references of every crystal."""

import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Composition, PeriodicSite, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from data.sample import build
from tc_common.crystals import read_crystal

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"
TABLE = pd.read_csv(SAMPLE / "sample.csv", keep_default_na=False)
PROTOTYPES = build.read_tables()[1]
SITES_IN_CELL = PROTOTYPES["wyckoff"].str.extract(r"(\d+)")[0].astype(int).groupby(PROTOTYPES["prototype"]).sum()
# Nearest neighbours over the sum of covalent radii: 0.70 in uranium to 1.35 in K3C60, whose K rattles in its cage.
SHORTEST_BOND, LONGEST_BOND = 0.7, 1.36
TEMPERATURE_EDGES_K = (0, 5, 15, 40, np.inf)

# g/cm3 at room temperature: CRC Handbook of Chemistry and Physics for elements and simple compounds,
# calculated X-ray densities of the cited structure papers for YBa2Cu3O6 and the layered compounds.
PUBLISHED_DENSITY = {
    "Al": 2.70,
    "Pb": 11.34,
    "Nb": 8.57,
    "V": 6.11,
    "Ta": 16.65,
    "Sn": 7.29,
    "In": 7.31,
    "Re": 21.02,
    "Zn": 7.14,
    "Ga": 5.91,
    "Bi": 9.79,
    "Si": 2.33,
    "Hg": 14.2,
    "NbN": 8.47,
    "TiN": 5.40,
    "NbC": 7.82,
    "TaC": 14.5,
    "MgB2": 2.63,
    "LaB6": 4.72,
    "ZrB12": 3.61,
    "MoS2": 5.0,
    "NbSe2": 6.44,
    "FeS2": 5.02,
    "CuS": 4.68,
    "Bi2Se3": 7.68,
    "ReO3": 7.4,
    "Nb3Sn": 8.92,
    "La2CuO4": 7.08,
    "YBa2Cu3O6": 6.12,
    "YBa2Cu3O6.93": 6.37,
    "BaFe2As2": 6.48,
    "LaFeAsO": 6.66,
    "UPt3": 19.4,
}

REQUIRED = {
    "elements": "Al Pb Nb V Ta Sn In Hg Re Tc Zn Cd La",
    "A15": "Nb3Sn Nb3Ge V3Si V3Ga Nb3Al",
    "rock salt": "NbN NbC TiN ZrN VN TaC MoC PdH",
    "MgB2 and relatives": "MgB2 Mg0.9Al0.1B2 MgB1.8C0.2 AlB2 YB6 ZrB12",
    "Laves": "CeRu2 HfV2 ZrV2",
    "Chevrel": "PbMo6S8 SnMo6S8",
    "borocarbides": "YNi2B2C LuNi2B2C",
    "dichalcogenides": "NbSe2 NbS2 TaS2 Cu0.08TiSe2",
    "bismuthates": "Ba0.63K0.37BiO3 BaPb0.75Bi0.25O3",
    "cuprates": "La1.85Sr0.15CuO4 YBa2Cu3O6.93 Nd1.85Ce0.15CuO4 HgBa2CuO4.06 Tl2Ba2CaCu2O8 Bi2Sr2CaCu2O8",
    "iron": "LaFeAsO0.89F0.11 Ba0.6K0.4Fe2As2 BaFe1.8Co0.2As2 FeSe FeTe0.5Se0.5 LiFeAs",
    "heavy fermions": "CeCoIn5 CeCu2Si2 UPt3 UBe13",
    "hydrides": "H3S LaH10 YH6 CaH6",
    "not superconducting": "Cu Ag Au Na Pt La2CuO4 BaBiO3 LaFeAsO",
}


def name_of(material_id: str) -> str:
    """The formula that starts a material's id."""
    return material_id.split("-")[0]


@cache
def crystal(path: str) -> Structure:
    return read_crystal(ROOT / path)


def covalent_radius(site: PeriodicSite) -> float:
    """Occupancy-weighted covalent radius in Å."""
    return np.average([CovalentRadius.radius[e.symbol] for e in site.species], weights=list(site.species.values()))


def bond_ratios(structure: Structure) -> np.ndarray:
    """Each site's nearest neighbour that can be there at the same time, over the sum of their covalent radii."""
    first, second, _, distance_A = structure.get_neighbor_list(5.0)
    radius = np.array([covalent_radius(site) for site in structure])
    filling = np.array([site.species.num_atoms for site in structure])
    together = filling[first] + filling[second] > 1
    ratios = np.full(len(structure), np.inf)
    np.minimum.at(ratios, first[together], (distance_A / (radius[first] + radius[second]))[together])
    return ratios


def space_group_number(structure: Structure) -> int:
    with warnings.catch_warnings():  # pymatgen calls spglib in a way that spglib deprecates
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        return SpacegroupAnalyzer(structure, symprec=1e-3).get_space_group_number()


def faults(row: Any, structure: Structure) -> list[str]:
    """What of a crystal is not as its row of the table says, or is no crystal chemistry."""
    found, stated, named = (
        composition.fractional_composition
        for composition in (structure.composition, Composition(row.formula), Composition(name_of(row.material_id)))
    )
    group, ratios = build.space_group(row.spacegroup)[0], bond_ratios(structure)
    volume_A3 = structure.volume / structure.composition.num_atoms
    checks = {
        f"it holds {structure.formula}": found.almost_equals(stated, atol=2e-3, rtol=0),
        "its id is another formula": stated.almost_equals(named),
        "its symmetry is another": space_group_number(structure) == group.int_number,
        f"it has {len(structure)} sites": len(structure) == SITES_IN_CELL[row.prototype],
        f"a bond of {ratios.min():.2f} radii": ratios.min() > SHORTEST_BOND,
        f"an atom {ratios.max():.2f} radii from all others": ratios.max() < LONGEST_BOND,
        f"{structure.density:.2f} g/cm3": 0.5 < structure.density < 23,
        f"{volume_A3:.1f} Å3 per atom": 2.0 < volume_A3 < 80,
        f"ordered: {structure.is_ordered}": row.doped == (not structure.is_ordered),
        f"read with remarks {structure.properties['remarks']}": not structure.properties["remarks"],
    }
    return [fault for fault, is_right in checks.items() if not is_right]


def test_every_crystal_is_what_the_table_says() -> None:
    wrong = {row.material_id: found for row in TABLE.itertuples() if (found := faults(row, crystal(str(row.cif))))}
    assert not wrong


def test_a_row_with_another_crystal_is_seen() -> None:
    rows = {name_of(str(row.material_id)): row for row in TABLE.itertuples()}
    mixed_up = faults(rows["Nb3Sn"], crystal(rows["La1.85Sr0.15CuO4"].cif))
    assert len(mixed_up) == 4 and "La3.7" in mixed_up[0], mixed_up
    squeezed = crystal(rows["Nb3Sn"].cif).copy()
    squeezed.scale_lattice(squeezed.volume * 0.3)
    assert [fault.split()[-1] for fault in faults(rows["Nb3Sn"], squeezed)] == ["radii", "g/cm3"]


def test_atoms_on_top_of_each_other_or_far_apart_are_seen() -> None:
    cuprate = crystal("data/sample/cifs/La2CuO4-La2CuO4.cif")
    squeezed, stretched = cuprate.copy(), cuprate.copy()
    squeezed.scale_lattice(cuprate.volume * 0.7**3)
    stretched.scale_lattice(cuprate.volume * 1.6**3)
    assert bond_ratios(squeezed).min() < SHORTEST_BOND
    assert bond_ratios(stretched).max() > LONGEST_BOND


@pytest.mark.parametrize("formula", PUBLISHED_DENSITY)
def test_density_is_the_published_one(formula: str) -> None:
    (path,) = TABLE.loc[TABLE["material_id"].map(name_of) == formula, "cif"]
    assert crystal(path).density == pytest.approx(PUBLISHED_DENSITY[formula], rel=0.02)


def test_every_prototype_and_reference_is_used_and_known() -> None:
    materials, prototypes, references = build.read_tables()
    assert {material.prototype for material in materials} == set(prototypes["prototype"])
    assert {key for material in materials for key in (material.structure_ref, material.tc_ref)} == set(references)
    assert all(re.search(r"\b(19|20)\d\d\b", text) for text in references.values())


def test_material_ids_are_unique_and_safe() -> None:
    assert TABLE["material_id"].is_unique
    assert TABLE["formula"].is_unique
    assert TABLE["material_id"].str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*").all()
    assert (TABLE["cif"] == "data/sample/cifs/" + TABLE["material_id"] + ".cif").all()


def test_sample_is_broad() -> None:
    assert len(TABLE) >= 120
    assert TABLE["doped"].sum() >= 40
    assert (TABLE[["structure_ref", "tc_ref"]] != "").all(axis=None)
    assert TABLE["tc"].between(0, 260).all()
    assert (TABLE["tc"] == 0).sum() >= 25
    counts = pd.cut(TABLE["tc"], TEMPERATURE_EDGES_K, right=False).value_counts()
    assert counts.min() >= 12, counts


@pytest.mark.parametrize("kind", REQUIRED)
def test_required_class_is_present(kind: str) -> None:
    missing = set(REQUIRED[kind].split()) - set(TABLE["material_id"].map(name_of))
    assert missing == set()


def test_measured_non_superconductors_have_zero_tc() -> None:
    rows = TABLE[TABLE["material_id"].map(name_of).isin(REQUIRED["not superconducting"].split())]
    assert (rows["tc"] == 0).all()


def test_rebuilding_gives_the_shipped_bytes(tmp_path: Path) -> None:
    count = build.build(tmp_path)
    assert count == len(TABLE)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {path: (SAMPLE / path).read_bytes() for path in built}
    assert built == shipped
    assert {path.name for path in (SAMPLE / "cifs").iterdir()} == {
        path.name for path in built if path.suffix == ".cif"
    }


@pytest.mark.parametrize(
    ("token", "value"),
    [("1/4", 0.25), ("0.15378", 0.15378), ("x", 0.3), ("2x", 0.6), ("-x", 0.7), ("x+1/8", 0.425), ("-y_A+1/4", 0.15)],
)
def test_coordinates_are_read(token: str, value: float) -> None:
    assert build.coordinate(token, {"x": 0.3, "y_A": 0.1}) == pytest.approx(value)


def test_unknown_coordinate_is_refused() -> None:
    with pytest.raises(ValueError, match="q"):
        build.coordinate("q", {})
    with pytest.raises(KeyError):
        build.coordinate("x_B", {"x_A": 0.1})
