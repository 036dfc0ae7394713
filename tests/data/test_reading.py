"""Parallel reading: limits are kept, nothing gets lost, the number of workers makes no difference."""

from pathlib import Path

import pytest

from data.reading import facts_of, read_all
from tc_common.crystals import CrystalError
from tc_common.reading import Limits
from tests.data.conftest import CIF, caesium_chloride_type

HOSTILE = {
    "truncated.cif": caesium_chloride_type("Nb", {"Sn": 1})[:150].encode(),
    "nul.cif": caesium_chloride_type("Nb", {"Sn": 1}).replace("Sn2", "Sn\0").encode(),
    "odd_utf16.cif": caesium_chloride_type("Nb", {"Sn": 1}).encode("utf-16")[:-1],
    "zero_cell.cif": caesium_chloride_type("Nb", {"Sn": 1}, a_A=0.0).encode(),
    "occupancy_3.cif": caesium_chloride_type("Nb", {"Sn": 3}).encode(),
    "empty.cif": b"",
    "binary.cif": bytes(range(256)) * 50,
    "million.cif": (
        caesium_chloride_type("Nb", {"Sn": 1})
        + "loop_\n_symmetry_equiv_pos_as_xyz\n"
        + "\n".join(f"'x+{n}/9999, y, z'" for n in range(10_000))
    ).encode(),
}


def large_cell(path: Path, n: int = 11) -> Path:
    """1,331 atoms: a second of work and some tens of megabytes."""
    rows = [f"Cu Cu{i} {i // (n * n) / n} {i // n % n / n} {i % n / n} 1" for i in range(n**3)]
    path.write_text(CIF.format(a=2.5 * n, rows="\n".join(rows)))
    return path


def crystals(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.cif" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(caesium_chloride_type("Nb", {"Sn": 1}, a_A=3.2 + 0.01 * number))
    return paths


def test_facts_are_those_of_the_structure(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(caesium_chloride_type("La", {"O": 0.85, "F": 0.1}, a_A=4.0))
    facts = facts_of(tmp_path / "a.cif")
    assert facts["found"] == pytest.approx({"F": 0.1 / 1.95, "La": 1 / 1.95, "O": 0.85 / 1.95})
    assert (facts["sites"], facts["partial"]) == (2, True)
    assert facts["volume_per_atom_A3"] == pytest.approx(64 / 1.95, abs=1e-3)
    assert facts["shortest_distance_A"] == pytest.approx(4 * 3**0.5 / 2, abs=1e-3)


def test_results_come_in_the_order_of_the_paths_for_any_number_of_workers(tmp_path: Path) -> None:
    paths = [*crystals(tmp_path, 12), tmp_path / "missing.cif"]
    one, three = read_all(paths, workers=1), read_all(paths, workers=3)
    assert one == three
    assert [reading.result["shortest_distance_A"] for reading in one if reading.result] == [
        pytest.approx((3.2 + 0.01 * number) * 3**0.5 / 2, abs=1e-3) for number in range(12)
    ]
    assert "cannot be read" in one[-1].reason


def test_hostile_files_are_rejected_and_their_neighbours_read(tmp_path: Path) -> None:
    paths = crystals(tmp_path, 4)
    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
        paths.insert(2, tmp_path / name)
    readings = read_all(paths, workers=2)
    assert not [reading.reason for reading in readings if "not read within" in reading.reason]
    outcome = {path.name: bool(reading.result) for path, reading in zip(paths, readings, strict=True)}
    assert outcome == {path.name: path.name not in HOSTILE for path in paths}
    assert all(reading.result or reading.reason for reading in readings)


def test_a_reader_that_hangs_is_killed_and_the_rest_is_read(tmp_path: Path) -> None:
    paths = crystals(tmp_path, 3)
    paths.insert(1, large_cell(tmp_path / "slow.cif", n=12))
    readings = read_all(paths, workers=1, limits=Limits(time_s=0.25))
    assert "not read within 0.25 s" in readings[1].reason
    assert readings[0].result is not None
    assert readings[3].result is not None


def test_a_reader_that_grows_is_stopped_and_the_rest_is_read(tmp_path: Path) -> None:
    paths = crystals(tmp_path, 3)
    paths.insert(1, large_cell(tmp_path / "big.cif"))
    readings = read_all(paths, workers=1, limits=Limits(memory_bytes=20_000_000))
    assert "grew by more than 0.02 GB" in readings[1].reason or "died" in readings[1].reason
    assert readings[3].result is not None


def test_no_files_need_no_reader() -> None:
    assert read_all([], workers=2) == []


def test_facts_need_a_crystal(tmp_path: Path) -> None:
    with pytest.raises(CrystalError, match="cannot be read"):
        facts_of(tmp_path / "missing.cif")
