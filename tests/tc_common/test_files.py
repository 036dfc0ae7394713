"""Files that are whole or not there."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from tc_common import files
from tc_common.errors import UserError, one_line
from tc_common.files import (
    atomic_write,
    printable,
    read_csv,
    read_json,
    sha256,
    table_text,
    write_csv,
    write_json,
    write_text,
)

ROOT = Path(__file__).parents[2]


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


def test_a_symbolic_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, target in (("there", "sub/old.txt"), ("dangling", "sub/new.txt"), ("chain", "there")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "sub/old.txt").write_text("old")
    for name in ("there", "dangling", "chain"):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).is_symlink()
    assert {path.name: path.read_text() for path in (tmp_path / "sub").iterdir()} == {
        "old.txt": "chain",
        "new.txt": "dangling",
    }
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match="cannot write .*round"):
        write_text(tmp_path / "round", "x")
    assert (tmp_path / "round").is_symlink()


def test_a_pipe_is_written_through_once_the_content_is_whole(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    with pytest.raises(ZeroDivisionError), atomic_write(pipe) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "whole")
    reader.join(10)
    assert read == ["whole"] and pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


PRINTS_AND_WRITES = """
import sys
from pathlib import Path
from tc_common.files import write_text
print("first", flush=True)
write_text(Path(sys.argv[1]), "second\\n")
print("third", flush=True)
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_standard_output_keeps_what_was_printed(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", PRINTS_AND_WRITES, name]
    with (tmp_path / "out").open("wb") as stream:
        subprocess.run(command, stdout=stream, cwd=ROOT, check=True)
    piped = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=True)
    assert (tmp_path / "out").read_bytes() == piped.stdout == b"first\nsecond\nthird\n"
    write_text(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_what_is_printed_cannot_act_on_a_terminal() -> None:
    assert printable("a\nb\x1b[31m\u202egnp\udcff ü") == "a\\nb\\x1b[31m\\u202egnp\\udcff ü"


def test_no_cell_of_a_table_is_a_formula_or_acts_on_a_terminal() -> None:
    for text in ("=cmd|'/c calc'!A1", "+1", "-2+3", "@SUM(A1)", " =1", "\uff1d1"):
        assert table_text(text) == f"'{text}"
    assert table_text("\t=1\x1b[2J") == "\\t=1\\x1b[2J"
    for text in ("MgB2", "La1.85Sr0.15CuO4", "a=b", "", "YBa2Cu3O7-δ"):
        assert table_text(text) == text


def test_a_json_object_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"tc_K": 39.0, "formula": "MgB₂"})
    assert read_json(tmp_path / "a.json") == {"tc_K": 39.0, "formula": "MgB₂"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"), (b"", "cannot be read as JSON"), (b"{", "cannot be read as JSON"),
        (b"\xff{}", "cannot be read as JSON"), (b"[" * 200_000, "cannot be read as JSON"),
        (b"[1]", "holds a JSON list"),
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused_in_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"^.*a\.json {reason}.*$") as error:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_an_error_is_one_short_line() -> None:
    assert one_line(ValueError("a\n   b\tc")) == "a b c"
    assert one_line(ValueError("x" * 500), most=10) == "x" * 10
    assert one_line(EOFError()) == "EOFError"
