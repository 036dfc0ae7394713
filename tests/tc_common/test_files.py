"""Files that are whole or not there."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tc_common import files
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_csv, sha256, write_csv, write_json


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent and temporary.name.startswith(".")
    assert path.read_text() == "new"


def test_file_and_folder_are_synced_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    path = tmp_path / "x.txt"
    monkeypatch.setattr(files, "sync", lambda synced_path: synced.append((synced_path.name, path.exists())))
    write_json(path, 1)
    (first, existed), (second, exists) = synced
    assert first.startswith(".x.txt.") and not existed
    assert second == tmp_path.name and exists


def test_json_is_readable_text_and_never_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"tc": 39.0, "name": "Tl₂Ba₂"})
    assert path.read_text(encoding="utf-8") == '{\n  "tc": 39.0,\n  "name": "Tl₂Ba₂"\n}\n'
    with pytest.raises(ValueError):
        write_json(path, {"tc": float("nan")})
    assert "39.0" in path.read_text(encoding="utf-8")


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    table = pd.DataFrame({"material_id": ["007", "1e5", "NaN"], "formula": ["NaN", "InF", "1e5"], "tc": [1.0, 0.1, 3]})
    write_csv(path, table)
    assert path.read_bytes().count(b"\r") == 0
    pd.testing.assert_frame_equal(read_csv(path, ("material_id", "tc"), "make it"), table, check_dtype=False)


def test_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 0x7FE0 << 48, 10_000).view(float)  # all magnitudes alike
    write_csv(tmp_path / "x.csv", pd.DataFrame({"tc": numbers}))
    assert (read_csv(tmp_path / "x.csv", ("tc",), "make it")["tc"].to_numpy() == numbers).all()


def test_a_compressed_table_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    path, table = tmp_path / "x.csv.gz", pd.DataFrame({"material_id": ["007"] * 500, "tc": 0.1 + 0.2})
    write_csv(path, table)
    once = path.read_bytes()
    assert len(once) < 200 and once[4:8] == bytes(4), "no time of day"
    pd.testing.assert_frame_equal(read_csv(path, ("tc",), "make it"), table)
    path.unlink()
    write_csv(path, table)
    assert path.read_bytes() == once
    for damaged in (once[:-20], once[:30] + b"x" + once[31:], b"no gzip"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read"):
            read_csv(path, ("tc",), "make it")


def test_a_table_that_cannot_be_used_is_a_users_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(UserError, match="x.csv is missing; make it with: make it"):
        read_csv(path, ("a",), "make it")
    for content, reason in ((b"", "cannot be read"), (b"b\n1\n", "has no column a"), (b"a\n\xff\xfe\n", "cannot be")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            read_csv(path, ("a",), "make it")


def test_digest_is_that_of_the_whole_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
