"""Archives: what is honest is unpacked, what is not leaves nothing behind."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from data import archives
from data.archives import cifs_sha256, find_table, unpack
from tc_common.errors import UserError

FILES = {"data/final/MP/3DSC_MP.csv": b"table", "data/final/MP/cifs/a.cif": b"A", "data/final/MP/cifs/b.cif": b"B"}


def tar(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info in extra or []:
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def strange(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_table_and_its_cifs_are_unpacked_and_nothing_else(tmp_path: Path) -> None:
    """GitHub's archive has a top folder, and CIFs of the Materials Project elsewhere in it."""
    files = {f"3DSC-2471dd/superconductors_3D/{name}": content for name, content in FILES.items()}
    files["3DSC-2471dd/superconductors_3D/data/source/MP/raw/cifs/a.cif"] = b"another"
    files["3DSC-2471dd/README.md"] = b"text"
    assert unpack(tar(tmp_path / "a.tar.gz", files), tmp_path / "MP") == 3
    unpacked = [path for path in (tmp_path / "MP").rglob("*") if path.is_file()]
    assert sorted(path.name for path in unpacked) == ["3DSC_MP.csv", "a.cif", "b.cif"]
    assert (tmp_path / "MP" / "cifs" / "a.cif").read_bytes() == b"A"


def test_zip_archives_are_read_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert unpack(tmp_path / "a.zip", tmp_path / "MP") == 3


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (strange("/etc/passwd"), "leads out"),
        (strange("../x.cif"), "leads out"),
        (strange("data/final/MP/cifs/../../../../x.cif"), "leads out"),
        (strange("..\\x.cif"), "leads out"),
        (strange("C:/x.cif"), "leads out"),
        (strange("data/final/MP/cifs/x.cif", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (strange("data/final/MP/cifs", tarfile.SYMTYPE, "/tmp"), "link"),
        (strange("data/final/MP/cifs/x.cif", tarfile.LNKTYPE, "data/final/MP/3DSC_MP.csv"), "link"),
        (strange("data/final/MP/cifs/x.cif", tarfile.CHRTYPE), "device"),
        (strange("data/final/MP/cifs/x.cif", tarfile.FIFOTYPE), "device"),
    ],
)
def test_hostile_members_refuse_the_whole_archive(tmp_path: Path, info: tarfile.TarInfo, reason: str) -> None:
    path = tar(tmp_path / "a.tar.gz", FILES, [info])
    with pytest.raises(UserError, match=reason):
        unpack(path, tmp_path / "MP")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


def test_hostile_zip_members_are_refused(tmp_path: Path) -> None:
    for name, mode in (("../x.cif", 0), ("cifs/x.cif", 0o120777)):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
        with pytest.raises(UserError, match="leads out|link"):
            unpack(path, tmp_path / "MP")
        assert not (tmp_path / "MP").exists()


def test_bombs_stop_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "a.tar.gz", FILES | {"data/final/MP/cifs/c.cif": b"0" * 100_000})
    monkeypatch.setattr(archives, "LARGEST_UNPACKED_BYTES", 50_000)
    with pytest.raises(UserError, match="more than 50000 bytes"):
        unpack(path, tmp_path / "MP")
    monkeypatch.setattr(archives, "LARGEST_SCANNED_BYTES", 10_000)
    with pytest.raises(UserError, match="10000 bytes"):
        find_table(path)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    with pytest.raises(UserError, match="2 members"):
        find_table(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_archives_leave_nothing(tmp_path: Path, share: float) -> None:
    whole = tar(tmp_path / "a.tar.gz", FILES | {"data/final/MP/cifs/c.cif": bytes(range(256)) * 400}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="cut off, damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "MP")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", FILES | {"data/final/MP/cifs/c.cif": bytes(range(256)) * 400})
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum at the end
    path.write_bytes(content)
    with pytest.raises(UserError, match="cut off, damaged"):
        unpack(path, tmp_path / "MP")


@pytest.mark.parametrize("mode", ["w:bz2", "w:xz", "w"])
def test_other_compressions_are_read(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "a", mode) as archive:  # type: ignore[call-overload]
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert unpack(tmp_path / "a", tmp_path / "MP") == 3


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar", mtime=0), b"PK\x03\x04 broken"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="no archive"):
        unpack(tmp_path / "a", tmp_path / "MP")


def test_a_table_is_needed_and_only_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 files"):
        unpack(tar(tmp_path / "a.tar.gz", {"cifs/a.cif": b"A"}), tmp_path / "MP")
    with pytest.raises(UserError, match="2 files"):
        unpack(tar(tmp_path / "b.tar.gz", FILES | {"x/3DSC_MP.csv": b"", "x/cifs/a.cif": b""}), tmp_path / "MP")


def test_fingerprint_is_that_of_sha256sum(tmp_path: Path) -> None:
    lines = "".join(
        f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in (("a.cif", b"A"), ("b.cif", b"B"))
    )
    first = cifs_sha256(tar(tmp_path / "a.tar.gz", FILES))
    assert first == hashlib.sha256(lines.encode()).hexdigest()
    assert first == cifs_sha256(tar(tmp_path / "b.tar.gz", dict(reversed(FILES.items()))))
    assert first != cifs_sha256(tar(tmp_path / "c.tar.gz", FILES | {"data/final/MP/cifs/b.cif": b"C"}))
