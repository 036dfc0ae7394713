"""Files that are no CIF: POSCAR, extended XYZ, JSON and gzip are read under the same rules, others named."""

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from tc_common.crystals import CrystalError, read_crystal
from tc_common.formats import LARGEST_TEXT
from tests.tc_common.test_cases import CASES, MGB2

POSCAR = (CASES / "cif/K-unhelpful-message/POSCAR.cif").read_text()
XYZ = """3
Lattice="3.086 0 0 -1.543 2.67255 0 0 0 3.524" Properties=species:S:1:pos:R:3 pbc="T T T"
Mg 0 0 0
B 0 1.7817 1.762
B 1.543 0.89085 1.762
"""
MAGNESIUM_DIBORIDE = Structure(
    Lattice.hexagonal(3.086, 3.524),
    ["Mg2+", "B", "B"],
    np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]),
)


def saved(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("POSCAR", POSCAR),
        ("CONTCAR_relaxed", POSCAR),
        ("a.vasp", POSCAR),
        ("no_telling_name", POSCAR),
        ("a.xyz", XYZ),
        ("a.extxyz", XYZ.replace("\n", "\r\n")),
        ("no_telling_name", XYZ),
        ("a.json", json.dumps(MAGNESIUM_DIBORIDE.as_dict())),
        ("a.JSON", json.dumps({"structure": MAGNESIUM_DIBORIDE.as_dict(), "energy": 1})),
        ("no_telling_name", json.dumps(MAGNESIUM_DIBORIDE.as_dict())),
        ("a.cif.gz", gzip.compress(MGB2.encode(), mtime=0)),
        ("POSCAR.gz", gzip.compress(POSCAR.encode(), mtime=0)),
        ("no_telling_name", MGB2),
        ("a.txt", MGB2),
    ],
)
def test_every_kind_of_file_gives_the_same_crystal(tmp_path: Path, name: str, content: str | bytes) -> None:
    structure = read_crystal(saved(tmp_path, name, content))
    assert structure.composition.as_dict() == {"Mg": 1, "B": 2}
    assert structure.density == pytest.approx(2.62, abs=0.01)
    assert structure.properties["remarks"] == []
    distances = structure.distance_matrix
    assert distances[0, 1] == pytest.approx((3.086**2 / 3 + 1.762**2) ** 0.5, abs=1e-3), "Mg to B"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (POSCAR, "POSCAR"),
        (XYZ, "XYZ"),
        ('{"a": 1}', "JSON"),
        ("<!DOCTYPE html><p>404", "HTML"),
        ("\n <html>", "HTML"),
        ("<?xml version='1.0'?><modeling/>", "XML"),
        (gzip.compress(b"data_x", mtime=0), "gzip"),
        (b"PK\x03\x04" + bytes(40), "ZIP"),
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG\r\n", "PNG"),
        ("TITL x\nCELL 0.71 3 3 3 90 90 90\n", "SHELX"),
        ("HEADER    x\nCRYST1   40.0\n", "PDB"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("", "empty"),
        (" \n\n", "empty"),
        ("hello", "no data_ block"),
    ],
)
def test_what_is_no_cif_is_named(tmp_path: Path, content: str | bytes, what: str) -> None:
    with pytest.raises(CrystalError, match=what) as refusal:
        read_crystal(saved(tmp_path, "a.cif", content))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("POSCAR", POSCAR.replace("Mg B\n", ""), "does not name its elements"),
        ("POSCAR", "\n".join(POSCAR.splitlines()[:9]), "not a readable POSCAR"),
        ("POSCAR", POSCAR.replace("1 2\n", "1 999999\n"), "at most 2000"),
        ("POSCAR", POSCAR.replace("0.6667 0.3333 0.5", "0.3333 0.6667 0.52"), "0.07 Å apart"),
        ("POSCAR", POSCAR.replace("Mg B", "Mg Xx"), "no element|not a readable"),
        ("POSCAR", POSCAR.replace("\n1.0\n", "\n0.3\n"), "Å³ per atom"),
        ("a.xyz", XYZ.replace("Lattice", "Cell"), "no unit cell"),
        ("a.xyz", XYZ.replace("T T T", "T T F"), "not periodic"),
        ("a.xyz", XYZ + XYZ, "several structures"),
        ("a.xyz", XYZ.replace("3\n", "5\n", 1), "not a readable XYZ"),
        ("a.json", "{", "not a readable JSON"),
        ("a.json", "[" * 100_000, "JSON"),
        ("a.json", '{"lattice": {"matrix": 3}, "sites": [1]}', "not a readable JSON"),
        ("a.json", '{"lattice": {"matrix": [[1e999,0,0],[0,1,0],[0,0,1]]}, "sites": []}', "lists no sites"),
        ("a.json", '{"@module": "os", "@class": "system"}', "no pymatgen Structure"),
        ("a.cif.gz", MGB2, "no gzip data"),
        ("a.cif.gz", gzip.compress(MGB2.encode(), mtime=0)[:-20], "cut off"),
        ("a.cif.gz", gzip.compress(POSCAR.encode(), mtime=0), "POSCAR"),
    ],
)
def test_other_kinds_obey_the_same_rules(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    with pytest.raises(CrystalError, match=reason) as refusal:
        read_crystal(saved(tmp_path, name, content))
    assert "\n" not in str(refusal.value)


def test_a_small_gzip_file_cannot_unfold_into_gigabytes(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.cif.gz", gzip.compress(bytes(20 * LARGEST_TEXT), compresslevel=1, mtime=0))
    tracemalloc.start()
    with pytest.raises(CrystalError, match="larger than"):
        read_crystal(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * LARGEST_TEXT


def test_a_json_file_runs_nothing(tmp_path: Path) -> None:
    content = MAGNESIUM_DIBORIDE.as_dict()
    evil = {"@module": "tests.tc_common.test_formats", "@class": "Trap", "@version": "1"}
    content["sites"][0]["properties"] = {"magmom": evil}
    content["properties"] = {"x": evil}
    assert len(read_crystal(saved(tmp_path, "a.json", json.dumps(content)))) == 3


class Trap:
    """What pymatgen's decoder would make if it were asked."""

    @classmethod
    def from_dict(cls, _: dict[str, str]) -> None:
        raise AssertionError("a class named in a file was made")
