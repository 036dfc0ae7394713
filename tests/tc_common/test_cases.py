"""Real-world faults: every file of tests/cases is read as written there, or refused with the reason given there."""

import csv
import time
from itertools import product
from pathlib import Path

import pytest
from pymatgen.core import Composition

from gat_pipeline.graphs import GraphOptions, build_graph
from tc_common.crystals import CrystalError, read_crystal

CASES = Path(__file__).parents[1] / "cases"
ROWS = list(csv.DictReader((CASES / "cif.csv").read_text(encoding="utf-8").splitlines()))
READ = [row for row in ROWS if row["formula"]]
REFUSED = [row for row in ROWS if row["refusal"]]
MGB2 = (
    (CASES / "cif/I-good-files-refused/MgB2-0.333-0.667.cif").read_text().replace("0.333 0.667", "0.3333333 0.6666667")
)


def test_the_table_names_every_file_once() -> None:
    files = sorted(str(path.relative_to(CASES / "cif")) for path in (CASES / "cif").rglob("*") if path.is_file())
    assert sorted(row["file"] for row in ROWS) == files
    assert len(READ) + len(REFUSED) == len(ROWS)


@pytest.mark.parametrize("row", READ, ids=[row["file"] for row in READ])
def test_a_file_is_read_as_it_was_written(row: dict[str, str]) -> None:
    structure = read_crystal(CASES / "cif" / row["file"])
    assert structure.composition.as_dict() == pytest.approx(Composition(row["formula"]).as_dict(), abs=1e-6)
    assert len(structure) == int(row["atoms"])
    assert structure.density == pytest.approx(float(row["density_g_cm3"]), abs=0.006)


@pytest.mark.parametrize("row", REFUSED, ids=[row["file"] for row in REFUSED])
def test_a_file_is_refused_with_one_line_in_no_time(row: dict[str, str]) -> None:
    path = CASES / "cif" / row["file"]
    start = time.process_time()
    with pytest.raises(CrystalError) as refusal:
        read_crystal(path)
    assert time.process_time() - start < 2
    message = str(refusal.value)
    assert row["refusal"] in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("row", [row for row in READ if row["file"][0] == "J"], ids=lambda row: row["file"])
def test_split_sites_become_one_for_every_room(row: dict[str, str]) -> None:
    """The graph refuses atoms closer than 0.5 Å; after reading there are none."""
    structure = read_crystal(CASES / "cif" / row["file"])
    assert "split positions" in " ".join(structure.properties["remarks"])
    assert len(build_graph(structure, GraphOptions()).atom_features) == int(row["atoms"])


def test_a_chain_oxygen_left_and_right_of_its_centre_sits_at_the_centre() -> None:
    """O at (±0.045, 1/2, 0), each 0.47 full: one oxygen at (0, 1/2, 0), 0.94 full."""
    structure = read_crystal(CASES / "cif/J-rooms-disagree/YBCO-chain-oxygen-split.cif")
    chain = [site for site in structure if site.species.as_dict() == pytest.approx({"O": 0.94})]
    assert [site.frac_coords.tolist() for site in chain] == [pytest.approx([0, 0.5, 0])]


def test_reflections_inside_a_file_do_not_count_as_its_size(tmp_path: Path) -> None:
    indices = product(range(26), repeat=3)
    reflections = "".join(f"{h:4d}{k:4d}{m:4d}  100.00    1.00   1\n" for h, k, m in indices)
    path = tmp_path / "MgB2-embedded-hkl.cif"
    path.write_text(MGB2 + "_shelx_hkl_file\n;\n" + reflections + ";\n")
    assert path.stat().st_size > 500_000
    assert read_crystal(path).composition.as_dict() == {"Mg": 1, "B": 2}


def test_thirds_written_with_three_digits_are_thirds_and_said_so() -> None:
    structure = read_crystal(CASES / "cif/I-good-files-refused/MgB2-0.333-0.667.cif")
    boron = [site.frac_coords.tolist() for site in structure if "B" in site.species]
    assert sorted(boron) == [pytest.approx([1 / 3, 2 / 3, 0.5]), pytest.approx([2 / 3, 1 / 3, 0.5])]
    assert "special positions" in structure.properties["remarks"][0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_make_no_difference(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "a.cif"
    path.write_bytes(("# Müller, 20 °C\n" + MGB2).replace("\n", newline).encode(encoding))
    assert read_crystal(path).composition.as_dict() == {"Mg": 1, "B": 2}


def test_empty_lines_without_a_data_block_cost_no_time(tmp_path: Path) -> None:
    path = tmp_path / "empty_lines.cif"
    path.write_text("\n" * 490_000 + "x")
    start = time.process_time()
    with pytest.raises(CrystalError, match="no data_ block"):
        read_crystal(path)
    assert time.process_time() - start < 1


def test_what_is_not_stated_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    bare = (
        MGB2.partition("_symmetry")[0].replace("B2 Mg", "B Mg")
        + "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n"
    )
    path.write_text(bare + "_atom_site_fract_z\n_atom_site_occupancy\nMg1 0 0 0 ?\nB1 0.3333 0.6667 0.5 1\n")
    remarks = " ".join(read_crystal(path).properties["remarks"])
    assert "no symmetry is stated" in remarks and "occupancy is unknown (?) and was taken as 1 (1)" in remarks


@pytest.mark.parametrize(
    ("tags", "occupancy", "reason"),
    [
        ("_exptl_crystal_density_diffrn 2.30", 1.0, ""),
        ("_exptl_crystal_density_diffrn 2.26", 1.0, "_exptl_crystal_density_diffrn"),
        ("_exptl_crystal_density_diffrn 2.30 g/cm3", 1.0, "not a readable CIF"),
        ("_symmetry_cell_setting trigonal", 1.0, ""),
        ("_symmetry_cell_setting tetragonal", 1.0, "the symmetry given is hexagonal"),
        ("_symmetry_cell_setting unknown", 1.0, ""),
        ("", 0.21, ""),
        ("", 0.19, "no site is filled more than 0.19"),
    ],
)
def test_density_system_and_filling_are_refused_beyond_their_limits(
    tmp_path: Path, tags: str, occupancy: float, reason: str
) -> None:
    """MgB2 has 45.93 u in 29.06 Å³: 2.62 g/cm³, 1.14 times 2.30 and 1.16 times 2.26."""
    text = MGB2.replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n").replace("loop_", f"{tags}\nloop_", 1)
    text = text.replace("Mg1 Mg 0 0 0", f"Mg1 Mg 0 0 0 {occupancy}")
    path = tmp_path / "a.cif"
    path.write_text(text.replace("0.6666667 0.5", f"0.6666667 0.5 {occupancy}"))
    if not reason:
        assert read_crystal(path).composition["B"] == pytest.approx(2 * occupancy)
        return
    with pytest.raises(CrystalError, match=reason):
        read_crystal(path)
