"""What is sent: names, limits, and zips that are not what they seem."""

import io
import zipfile

import pytest

from tc_common.errors import UserError
from tests.web.made import LSCO, MGB2
from web.uploads import LARGEST_CRYSTAL, LONGEST_NAME, MOST_CRYSTALS, TooLargeError, Upload, batch, upload


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.cif", "a.cif"),
        ("a\nb\x1b[2J.cif", "a\\nb\\x1b[2J.cif"),
        ("", "crystal"),
        (None, "crystal"),
        ("x" * 500 + ".cif", "x" * (LONGEST_NAME - 4) + ".cif"),
    ],
)
def test_a_name_is_shown_without_folders_and_control_characters(name: str | None, shown: str) -> None:
    assert upload(name, b"") == Upload(shown, b"")


def test_a_zip_gives_its_crystals_and_nothing_else() -> None:
    entries = {"a/b.cif": MGB2, "../../up.cif": LSCO, "notes.txt": b"x", "__MACOSX/b.cif": b"x", ".hidden.cif": b"x"}
    found = batch([("z.zip", zipped(entries)), ("c.cif", MGB2)])
    assert found == [Upload("b.cif", MGB2), Upload("up.cif", LSCO), Upload("c.cif", MGB2)]


def test_a_zip_bomb_is_unpacked_no_further_than_the_limit() -> None:
    bomb = zipped({"bomb.cif": b"0" * 50_000_000})
    assert len(bomb) < 100_000
    assert batch([("z.zip", bomb)]) == [("bomb.cif", "larger than 500 kB; give one unit cell")]


def test_many_small_bombs_are_refused_as_soon_as_they_exceed_the_batch() -> None:
    bombs = zipped({f"{n}.cif": b"0" * LARGEST_CRYSTAL for n in range(60)})
    with pytest.raises(TooLargeError, match="more than 20 MB"):
        batch([("z.zip", bombs)])


def test_too_many_crystals_are_refused() -> None:
    entries = {f"{n}.cif": b"data_" for n in range(MOST_CRYSTALS + 1)}
    with pytest.raises(TooLargeError, match="more than 200 crystals"):
        batch([("z.zip", zipped(entries))])
    with pytest.raises(TooLargeError, match="more than 2000 entries"):
        batch([("z.zip", zipped({f"{n}.txt": b"" for n in range(2001)}))])


def encrypted() -> bytes:
    """A zip whose entry says that it is encrypted."""
    content = bytearray(zipped({"a.cif": MGB2}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        zipped({"a.cif": MGB2})[:-30],
        zipped({"a.cif": MGB2}).replace(MGB2[:0] + b"PK\x01\x02", b"PK\x09\x09"),
        zipped({"a.cif": MGB2}, zipfile.ZIP_LZMA),
        encrypted(),
        b"PK\x03\x04",
    ],
    ids=["cut", "no directory", "lzma", "encrypted", "signature only"],
)
def test_a_zip_that_cannot_be_unpacked_is_one_sentence(content: bytes) -> None:
    with pytest.raises(UserError, match="z.zip: a zip that cannot be unpacked"):
        batch([("z.zip", content)])


def test_a_damaged_entry_is_seen() -> None:
    content = bytearray(zipped({"a.cif": MGB2}, zipfile.ZIP_STORED))
    content[content.index(b"data_")] ^= 1
    with pytest.raises(UserError, match="cannot be unpacked"):
        batch([("z.zip", bytes(content))])


def test_no_crystals_are_one_sentence() -> None:
    with pytest.raises(UserError, match="no crystals in it"):
        batch([("z.zip", zipped({"readme.txt": b"x"}))])
    with pytest.raises(UserError, match="no crystals in it"):
        batch([])
