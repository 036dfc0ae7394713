"""Every kind of input gives the same crystals; hostile ones give rows with reasons, and the unreadable are named."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Structure

from prediction.screening import inputs
from prediction.screening.inputs import open_inputs
from prediction.screening.items import Item, read_item
from prediction.screening.plan import Plan
from tc_common.crystals import CrystalError, read_crystal
from tc_common.errors import UserError
from tests.prediction.screening.conftest import SAMPLE, write_parquet


def items_of(tmp_path: Path, *paths: Path) -> list[Item]:
    """All crystals of some inputs."""
    sources, _ = open_inputs(paths, tmp_path / "index")
    plan = Plan(tuple(sources), 5)
    return [item for shard in range(plan.shards) for item in plan.items(shard)]


def same(a: Structure, b: Structure) -> bool:
    return a.composition == b.composition and np.allclose(a.lattice.parameters, b.lattice.parameters)


def test_a_folder_gives_its_crystals_in_the_order_of_their_names(tmp_path: Path, cifs: Path) -> None:
    items = items_of(tmp_path, cifs)
    names = [item.name for item in items]
    assert names == sorted(name for name in names if "/" not in name) + [name for name in names if "/" in name]
    assert len(items) == 12 and not any("README" in name for name in names)
    assert same(read_item(items[0]), read_crystal(cifs / names[0]))


def test_tar_and_zip_give_the_same_crystals_as_the_folder(tmp_path: Path, cifs: Path) -> None:
    files = sorted(cifs.rglob("*.cif"))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in files:
            tar.add(path, path.relative_to(cifs))
            archive.write(path, path.relative_to(cifs))
    for name in ("a.tar.gz", "a.zip"):
        items = items_of(tmp_path / name.replace(".", ""), tmp_path / name)
        assert [item.content for item in items] == [path.read_bytes() for path in files]


def test_tables_give_texts_and_dicts(tmp_path: Path) -> None:
    crystals = [read_crystal(path) for path in SAMPLE[:3]]
    dicts = [json.dumps(crystal.as_dict(), default=float) for crystal in crystals]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        rows = [(f"m{number}", path.read_text()) for number, path in enumerate(SAMPLE[:3])]
        csv.writer(stream).writerows([("id", "cif"), *rows])
    with gzip.open(tmp_path / "t.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps({"structure": json.loads(text)}) + "\n" for text in dicts)
    pq.write_table(pa.table({"structure": dicts}), tmp_path / "t.parquet")
    for name in ("t.csv", "t.jsonl.gz", "t.parquet"):
        items = items_of(tmp_path / f"of_{name}", tmp_path / name)
        assert all(same(read_item(item), crystal) for item, crystal in zip(items, crystals, strict=True))
        assert items[1].name == ("m1" if name == "t.csv" else f"{name}:1")


def test_any_range_of_a_parquet_file_is_the_same_wherever_its_row_groups_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "t.parquet", 150)
    source = open_inputs([tmp_path / "t.parquet"], tmp_path / "index")[0][0]
    assert source.table == tmp_path / "t.parquet"  # read where it is
    names = [item.name for item in source.items(60, 131)]
    assert names == [f"c{number}" for number in range(60, 131)]
    monkeypatch.setattr(inputs, "LARGEST_ROW_GROUP", 63)
    copied = open_inputs([tmp_path / "t.parquet"], tmp_path / "index")[0][0]
    assert copied.table != source.table and [item.name for item in copied.items(60, 131)] == names


def test_ase_databases_give_their_periodic_crystals(tmp_path: Path) -> None:
    ase_db, build = pytest.importorskip("ase.db"), pytest.importorskip("ase.build")
    copper, molecule = build.bulk("Cu", cubic=True), build.molecule("H2O")
    with ase_db.connect(tmp_path / "a.db") as database:
        database.write(copper)
        database.write(molecule)
    items = items_of(tmp_path, tmp_path / "a.db")
    assert read_item(items[0]).composition.reduced_formula == "Cu"
    with pytest.raises(CrystalError, match="not periodic in all directions"):
        read_item(items[1])


def test_lmdb_rows_are_json_and_a_pickle_is_an_error(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    cell = {"__ndarray__": [[3, 3], "float64", [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]]}
    row = {"numbers": [29], "positions": [[0, 0, 0]], "cell": {"array": cell}, "pbc": [True, True, True]}
    with lmdb.open(str(tmp_path / "a.lmdb"), subdir=False) as database, database.begin(write=True) as transaction:
        transaction.put(b"1", zlib.compress(json.dumps(row).encode()))
        transaction.put(b"2", b"\x80\x04cos\nsystem\n.")
        transaction.put(b"nextid", b"3")
    items = items_of(tmp_path, tmp_path / "a.lmdb")
    assert [item.name for item in items] == ["a.lmdb:1", "a.lmdb:2"]
    assert read_item(items[0]).volume == pytest.approx(64.0)
    with pytest.raises(CrystalError, match="pickles are not read"):
        read_item(items[1])


def test_archives_cannot_fill_the_memory_or_leave_the_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.cif", b"\0" * 40_000_000)
        archive.writestr("../../out.cif", SAMPLE[0].read_text())
        archive.writestr("bomb.cif.gz", gzip.compress(b"\0" * 40_000_000))
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("passwd.cif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        good = tarfile.TarInfo("/abs/\x1b[2Jgood.cif")
        good.size = len(SAMPLE[0].read_bytes())
        tar.addfile(good, io.BytesIO(SAMPLE[0].read_bytes()))
    items = items_of(tmp_path / "work", tmp_path / "bomb.zip", tmp_path / "link.tar")
    assert [bool(item.error) for item in items] == [True, False, True, True, False]
    assert "larger than" in items[0].error and "link" in items[3].error
    assert "\x1b" not in items[4].name
    assert sum(path.stat().st_size for path in (tmp_path / "work").rglob("*") if path.is_file()) < 100_000
    assert not list(tmp_path.parent.glob("out.cif"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"PAR1 no table", r"t\.parquet is no readable Parquet file"),
        ("t.bin", b"\0\1\2", "neither a folder nor"),
        ("t.csv", b"a,b\n1,2\n", "has no column cif"),
        ("t.tar.gz", None, "cut off or damaged"),
        ("t.db", b"no database", "cut off or damaged"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is None:
        with tarfile.open(path, "w:gz") as tar:
            for cif in SAMPLE[:20]:
                tar.add(cif, cif.name)
        content = path.read_bytes()[: 3 * path.stat().st_size // 4]
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_inputs([path], tmp_path / "index")


def test_an_unreadable_parquet_is_named_before_anything_else_is_copied(tmp_path: Path, cifs: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="bad.parquet"):
        open_inputs([cifs, tmp_path / "bad.parquet"], tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_no_crystal_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no crystal in it"):
        open_inputs([tmp_path / "empty"], tmp_path / "index")
    with pytest.raises(UserError, match="absent.parquet: No such file"):
        open_inputs([tmp_path / "absent.parquet"], tmp_path / "index")


def test_a_changed_input_has_another_fingerprint(tmp_path: Path, cifs: Path) -> None:
    _, before = open_inputs([cifs], tmp_path / "index")
    assert open_inputs([cifs], tmp_path / "index")[1] == before
    next(cifs.glob("*.cif")).unlink()
    sources, after = open_inputs([cifs], tmp_path / "index")
    assert after != before and sources[0].crystals == 11
