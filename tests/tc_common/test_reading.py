"""Reading under limits: what a file costs is bounded, and the next file is read."""

import os
import time
from pathlib import Path

import pytest
from pymatgen.core import Structure

from tc_common.crystals import CrystalError, read_crystal
from tc_common.reading import LimitedReader, Limits, limit_memory
from tests.tc_common.test_cases import MGB2


def sleep_or_read(path: Path) -> Structure:
    """A reader that hangs on some files."""
    if path.name.startswith("slow"):
        time.sleep(60)
    if path.name.startswith("large"):
        bytearray(10**9)
    if path.name.startswith("dies"):
        os._exit(7)
    return read_crystal(path)


def test_a_crystal_comes_back_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    path.write_text(MGB2)
    with LimitedReader(read_crystal) as read:
        assert read(path) == read_crystal(path)
        assert read(path).properties["remarks"] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("slow.cif", "not read within 0.3 s"), ("large.cif", "grew by more than 0.1 GB"), ("dies.cif", "exit status 7")],
)
def test_a_file_that_costs_too_much_is_refused_and_the_next_is_read(tmp_path: Path, name: str, reason: str) -> None:
    for each in (name, "good.cif"):
        (tmp_path / each).write_text(MGB2)
    with LimitedReader(sleep_or_read, Limits(time_s=0.3, memory_bytes=100_000_000)) as read:
        with pytest.raises(CrystalError, match=f"{name}: .*{reason}"):
            read(tmp_path / name)
        assert len(read(tmp_path / "good.cif")) == 3


def prepare() -> None:
    """A start that takes longer than a file may."""
    time.sleep(0.6)
    os.environ["PREPARED"] = "yes"


def prepared(path: Path) -> str:
    """What `prepare` left in the worker."""
    return os.environ.get("PREPARED", "no")


def test_what_a_worker_does_at_its_start_is_not_charged_to_a_file(tmp_path: Path) -> None:
    with LimitedReader(prepared, Limits(time_s=0.3), prepare) as read:
        assert [read(tmp_path), read(tmp_path)] == ["yes", "yes"]
    with LimitedReader(prepared, Limits(time_s=0.3)) as read:
        assert read(tmp_path) == "no"


def test_a_refusal_names_the_file_once(tmp_path: Path) -> None:
    with LimitedReader(read_crystal) as read, pytest.raises(CrystalError) as refusal:
        read(tmp_path / "none.cif")
    assert str(refusal.value).count("none.cif") == 1


def test_without_proc_no_memory_limit_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("a limit was set"))
    limit_memory(1, statm=tmp_path / "missing")
