"""Reading CIFs: physics survives, and no untrusted input gets past the checks."""

import pickle
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Structure

from tc_common.atoms import LARGEST_CELL_SITES
from tc_common.crystals import CrystalError, check_crystal, parse_crystal, read_crystal
from tc_common.symmetry import MOST_OPERATIONS

COPPER = """data_Cu
_cell_length_a 3.6149
_cell_length_b 3.6149
_cell_length_c 3.6149
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu Cu1 0 0 0 1
"""


def cell(atoms: str, length_A: float = 4.0, columns: str = "type_symbol fract_x fract_y fract_z occupancy") -> str:
    """A cubic P1 cell holding the given rows of atoms."""
    keys = "\n".join(f"_atom_site_{column}" for column in columns.split())
    sides = "\n".join(f"_cell_length_{axis} {length_A}" for axis in "abc")
    angles = "\n".join(f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma"))
    return f"data_x\n{sides}\n{angles}\nloop_\n_atom_site_label\n{keys}\n" + "\n".join(
        f"{row.split()[0]}{number} {row}" for number, row in enumerate(atoms.strip().splitlines(), 1)
    )


def test_symmetry_is_applied() -> None:
    structure = parse_crystal(COPPER)
    assert structure.composition.as_dict() == {"Cu": 4}
    assert structure.density == pytest.approx(8.93, abs=0.02)  # g/cm3, handbook value of copper 8.96


def test_shared_and_vacant_sites_keep_their_occupancies() -> None:
    structure = parse_crystal(cell("O 0 0 0 0.85\nF 0 0 0 0.15\nLa 0.5 0.5 0.5 0.9"))
    assert sorted(dict(site.species.as_dict().items()) == {"La": 0.9} for site in structure) == [False, True]
    assert structure.composition.as_dict() == pytest.approx({"O": 0.85, "F": 0.15, "La": 0.9})


def test_a_site_shared_by_oxygen_and_hydrogen_keeps_its_hydrogen() -> None:
    structure = parse_crystal(cell("O 0 0 0 0.8\nH 0 0 0 0.2\nLa 0.5 0.5 0.5 1"))
    assert structure.composition.as_dict() == pytest.approx({"O": 0.8, "H": 0.2, "La": 1.0})
    assert "implicit_hydrogens" not in structure.site_properties


def test_occupancies_rounded_above_one_are_scaled_and_said_so() -> None:
    structure = parse_crystal(cell("O 0 0 0 0.34\nF 0 0 0 0.67\nLa 0.5 0.5 0.5 1"))
    assert structure.composition["F"] == pytest.approx(0.67 / 1.01)
    assert "scaled" in structure.properties["remarks"][0]
    full = parse_crystal(cell("O 0 0 0 0.7\nF 0 0 0 0.2\nN 0 0 0 0.1"))
    assert full.properties["remarks"] == [
        "no symmetry is stated; the atoms listed were taken as all of the cell (P 1)"
    ]


def test_oxidation_states_and_isotopes_become_plain_elements() -> None:
    structure = parse_crystal(cell("Cu2+ 0 0 0 1\nD 0.5 0.5 0.5 1"))
    assert set(structure.composition) == {Element("Cu"), Element("H")}
    assert "deuterium" in structure.properties["remarks"][0]


def test_structures_travel_between_processes() -> None:
    structure = parse_crystal(COPPER)
    assert pickle.loads(pickle.dumps(structure)) == structure  # noqa: S301 our own bytes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 of its data blocks|nothing in it"),
        ("no cif", "no data_ block|line 1"),
        (COPPER * 2, "duplicate block name: Cu; keep one"),
        (COPPER.replace("data_Cu", "data_A") + COPPER, "2 of its data blocks"),
        (COPPER.replace("3.6149", "0"), "no volume"),
        (COPPER.replace("3.6149", "nan"), "not a number"),
        (COPPER.replace("3.6149", "1e400"), "not a number|finite"),
        (COPPER.replace("_beta 90", "_beta 200"), "no volume"),
        (COPPER.replace("_beta 90", "_beta 0.01"), "planes closer"),
        (COPPER.replace("3.6149", "36.149"), "Å³ per atom"),
        (COPPER.replace("3.6149", "1.1"), "Å³ per atom"),
        (COPPER.replace("0 0 0 1", "0 0 0 3"), "occupancy 3 is outside"),
        (COPPER.replace("0 0 0 1", "0 0 0 0"), "lists no atoms"),
        (COPPER.replace("0 0 0 1", "0 0 0 -1"), "occupancy -1 is outside"),
        (COPPER.replace("0 0 0 1", "0 ? 0 1"), "not a number"),
        (COPPER.replace("Cu Cu1", "Xx Xx1"), "no element"),
        (COPPER.replace("Cu Cu1", "Wat Wat1"), "no element"),
        (COPPER.replace("Cu Cu1", "OH OH1"), "no element"),
        (COPPER.replace("F m -3 m", "F x -3 q").replace("_Tables_number 225", "_Tables_number 999"), "space group"),
        (COPPER + "loop_\n_symmetry_equiv_pos_as_xyz\n'__import__(os)'\n", "not of the form"),
        (COPPER.replace("Cu1", "Cu\x001"), "NUL"),
        (COPPER + "# comment\n" * 1_700_000, "larger than 16000000 bytes"),
        (COPPER + "_atom_site_moment_label Cu1\n", "magnetic"),
        (cell("Cu 0 0 0 1\nCu 0.1 0 0 1"), "0.40 Å apart"),
        (cell("Cu 0 0 0 0.6\nCu 0.1 0 0 0.6"), "0.40 Å apart"),
        (cell("Cu 0 0 0 0.8\nZn 0 0 0 0.8"), "fill their site 1.6 times"),
    ],
)
def test_what_is_no_crystal_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(CrystalError, match=reason):
        parse_crystal(text)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("_chemical_formula_sum 'Cu4'\n_cell_formula_units_Z 1", None),
        ("_chemical_formula_sum Cu\n_cell_formula_units_Z 4", None),
        ("_chemical_formula_sum Cu\n_cell_formula_units_Z 2", "formula_units_Z is 2, but the cell holds 4"),
        ("_chemical_formula_sum 'Cu0.99 Zn0.01'", "has 0.01 Zn, but the atoms listed give 0"),
        ("_cell_volume 47.2(3)", None),
        ("_cell_volume 48.2", "_cell_volume is 48.2, but the cell has 47.2"),
    ],
)
def test_the_cell_is_what_the_file_declares(declared: str, reason: str | None) -> None:
    if reason is None:
        assert len(parse_crystal(COPPER + declared)) == 4
    else:
        with pytest.raises(CrystalError, match=reason):
            parse_crystal(COPPER + declared)


def test_every_element_is_compared_within_two_percent() -> None:
    atoms = cell("O 0 0 0 0.9\nLa 0.5 0.5 0.5 1") + "\n_chemical_formula_sum "
    assert len(parse_crystal(atoms + "'La O0.9'")) == len(parse_crystal(atoms + "'La O0.91'")) == 2
    with pytest.raises(CrystalError, match="has 0.95 O|has 1 La"):
        parse_crystal(atoms + "'La O0.95'")


def test_no_crystal_is_denser_than_osmium() -> None:
    with pytest.raises(CrystalError, match="a density of 39.7 g/cm³"):
        parse_crystal(cell("Os 0 0 0 1", length_A=1.996))  # 190.23 * 1.6605 / 7.952
    assert len(parse_crystal(cell("Os 0 0 0 1", length_A=2.4))) == 1


def test_split_positions_become_one_site_at_their_mean() -> None:
    structure = parse_crystal(cell("Cu 0 0 0 0.25\nCu 0.1 0 0 0.5"))
    assert structure.frac_coords.tolist() == [pytest.approx([0.2 / 3, 0, 0])]
    assert structure.composition.as_dict() == {"Cu": 0.75}
    assert "mean" in structure.properties["remarks"][0]
    assert len(parse_crystal(cell("Cu 0 0 0 0.5\nCu 0.13 0 0 0.5"))) == 2, "0.52 Å: two sites"


def test_a_million_atoms_are_refused_before_they_are_made() -> None:
    """200 sites times 5,000 operations; unfolding them would take minutes."""
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(f"'x+{n}/5000, y, z'" for n in range(5000))
    atoms = "\n".join(f"Cu {n / 200:.3f} 0 0 1" for n in range(200))
    start = time.process_time()
    with pytest.raises(CrystalError, match="5000 symmetry operations; at most 576"):
        parse_crystal(cell(atoms) + "\n" + operations)
    assert time.process_time() - start < 10


def test_the_most_atoms_that_are_unfolded_take_seconds() -> None:
    """20 general positions under 192 operations come to 3,840 images, nearly all different: refused after the fact."""
    atoms = "".join(f"Cu Cu{n} {0.011 * n:.4f} {0.007 * n:.4f} {0.003 * n:.4f} 1\n" for n in range(1, 21))
    start = time.process_time()
    with pytest.raises(CrystalError, match="sites; between 1 and 2000"):
        parse_crystal(COPPER.replace("Cu Cu1 0 0 0 1\n", atoms).replace("3.6149", "60"))
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "text",
    [
        "'a " * 1_000_000,
        "data_x\n_a " + "'a" * 1_000_000,
        "".join(f"data_{n}\n" for n in range(100_000)),
        "data_x\n" + "".join(f"save_{n}\nsave_\n" for n in range(100_000)),
        "data_x\n" + "".join(f"_a{n} 1\n" for n in range(300_000)),
        "loop_\n_a\n" * 100_000,
        COPPER + "_x\n;\n" + "a b c d\n" * 1_900_000 + ";\n",
        COPPER + "loop_\n_x\n_y\n" + "1 2\n" * 2_000_000,
    ],
    ids=["quotes", "long value", "blocks", "frames", "tags", "loops", "text field", "long loop"],
)
def test_no_text_makes_the_reader_crawl(text: str) -> None:
    """gemmi compares blocks pair by pair: 100,000 would take minutes and are counted first."""
    start = time.process_time()
    with suppress(CrystalError):
        parse_crystal(text)
    assert time.process_time() - start < 2


def test_the_largest_cell_allowed_is_read_in_seconds() -> None:
    n = 12
    atoms = "\n".join(
        f"Cu {i / n:.4f} {j / n:.4f} {k / n:.4f} 1" for i in range(n) for j in range(n) for k in range(n)
    )
    start = time.process_time()
    assert len(parse_crystal(cell(atoms, length_A=2.5 * n))) == n**3
    assert time.process_time() - start < 10


def test_geometry_limits_hold_for_structures_made_elsewhere() -> None:
    with pytest.raises(CrystalError, match="planes"):
        check_crystal(Structure(Lattice.tetragonal(10, 0.3), ["Cu"], [[0, 0, 0]]))
    with pytest.raises(CrystalError, match="finite"):
        check_crystal(Structure(Lattice.cubic(3), ["Cu"], [[float("nan"), 0, 0]]))
    with pytest.raises(CrystalError, match="0 sites"):
        check_crystal(Structure(Lattice.cubic(3), [], []))


@pytest.mark.parametrize("name", ["missing.cif", "a\0b.cif", "x" * 300 + ".cif"])
def test_unusable_paths_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CrystalError, match="cannot be read|no file name"):
        read_crystal(tmp_path / name)


def test_folders_and_devices_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(CrystalError, match="not a plain file"):
            read_crystal(path)


def test_names_that_a_shell_would_read_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(";touch x;#.cif")
    path.write_text(COPPER)
    assert len(read_crystal(path)) == 4
    assert not Path("x").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_gives_a_crystal_or_a_reason(data: st.DataObject) -> None:
    """Truncated, overwritten, repeated and shuffled bytes: a checked structure or a CrystalError, nothing else."""
    content = bytearray(COPPER.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 40))
        piece = data.draw(st.sampled_from([b"", b"loop_\n", b"data_", b"'", b";\n", b"_cell_length_a", b"1e9", b"-1"]))
        content[start : start + length] = piece or data.draw(st.binary(max_size=8))
    try:
        structure = parse_crystal(bytes(content).decode("utf-8", errors="replace"))
    except CrystalError:
        return
    check_crystal(structure)


def test_limits_are_above_every_structure_of_3dsc() -> None:
    """240 sites and 48 operations are the most there (benchmarks/reading.py)."""
    assert LARGEST_CELL_SITES > 240
    assert MOST_OPERATIONS > 48
