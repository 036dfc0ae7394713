"""Of what kind a file is, by its name or else its content, and its text or structure.

Only plain values are taken from JSON: pymatgen's own decoder would import whatever class a file names.
"""

import io
import json
import lzma
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

from pymatgen.core import Lattice, Structure

from tc_common.cif import LARGEST_TEXT, CrystalError
from tc_common.errors import one_line

PARSING_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    OSError,
)
# What the standard library raises on archives that are damaged, cut, encrypted or packed in a rare way.
ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
LARGEST_LIST = 2_000  # atoms

SUFFIXES = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".extxyz": "xyz",
    ".xyz": "xyz",
    ".json": "json",
}
SIGNATURES = (
    (b"\x1f\x8b", "gzip data; name it .cif.gz"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"BZh", "bzip2 data; unpack it"),
    (b"\xfd7zXZ", "xz data; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"%PDF", "a PDF; save the CIF itself"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\xd0\xcf\x11\xe0", "a Microsoft Office document; save the CIF as plain text"),
    (b"{\\rtf", "an RTF document; save it as plain text"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself"),
)
FLOAT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
VECTOR = rf"[ \t]*{FLOAT}[ \t]+{FLOAT}[ \t]+{FLOAT}[^\n]*"
POSCAR = re.compile(rf"[^\n]*\n[ \t]*{FLOAT}[^\n]*\n{VECTOR}\n{VECTOR}\n{VECTOR}\n")
XYZ = re.compile(r"\s*\d+[ \t]*\n[^\n]*\n")
TEXTS = (
    (re.compile(r"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE), "an HTML page; save the CIF itself"),
    (re.compile(r"\s*<"), "XML; save the crystal as CIF"),
    (re.compile(r"\s*[{\[]"), "JSON; name it .json"),
    (re.compile(r"(?:[^\n]*\n){0,3}(?:HEADER|CRYST1|ATOM  |HETATM|REMARK)"), "a PDB file; save the crystal as CIF"),
    (re.compile(r"(?:[^\n]*\n){0,3}(?:TITL|CELL) "), "a SHELX file; save the crystal as CIF"),
    (re.compile(r"\s*(?:CRYSTAL|PRIMVEC|DIM-GROUP)\b"), "an XSF file; save the crystal as CIF"),
    (re.compile(r"\s*vasp\.\d"), "an OUTCAR of VASP; give its CONTCAR"),
    (re.compile(r"\s*(?:&(?:control|system)|ATOMIC_)", re.IGNORECASE), "an input of Quantum ESPRESSO; save it as CIF"),
    (POSCAR, "a POSCAR; name it POSCAR or .vasp"),
    (XYZ, "an XYZ file; name it .xyz"),
)
HAS_BLOCK = re.compile(r"(?im)^[ \t]*data_")


def load(name: str, stream: IO[bytes], size: int) -> str | Structure:
    """The text of a CIF, or the structure of a file of another kind, of a size in bytes.

    Raises:
        CrystalError: too large, or not of the kind that its name or content says.
    """
    content = stream.read(min(size, LARGEST_TEXT) + 1)
    if name.lower().endswith(".gz"):
        name, content = name[:-3], _unzipped(content)
    if len(content) > LARGEST_TEXT:
        raise CrystalError(f"larger than {LARGEST_TEXT} bytes; not a unit cell")
    kind = kind_of_name(name)
    if (not kind or kind == "cif") and (foreign := _signature(content)):
        raise CrystalError(f"no CIF: it looks like {foreign}")
    text = decode(content).replace("\r\n", "\n").replace("\r", "\n")
    kind = kind or _kind_of_text(text)
    if kind == "cif":
        if not HAS_BLOCK.search(text):
            raise CrystalError(_no_cif(text))
        return text
    return _structure(READERS[kind], kind, text)


def kind_of_name(name: str) -> str:
    """`cif`, `poscar`, `xyz` or `json` by a file's name (without `.gz`); empty if it says nothing."""
    lower = name.lower()
    kind = next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), "")
    return kind or ("poscar" if lower.startswith(("poscar", "contcar")) else "")


def _kind_of_text(text: str) -> str:
    """What a text is that has no telling name."""
    if HAS_BLOCK.search(text):
        return "cif"
    if text.lstrip()[:1] == "{":
        return "json"
    head = text[:4096]
    if XYZ.match(head) and "lattice=" in head.lower():
        return "xyz"
    return "poscar" if POSCAR.match(head) else "cif"


def _signature(content: bytes) -> str:
    return next((what for start, what in SIGNATURES if content.startswith(start)), "")


def _no_cif(text: str) -> str:
    """Why a text without data block is no CIF."""
    if not text.strip():
        return "an empty file; no CIF"
    head = text[:4096]
    if "\0" in head:
        return "holds NUL characters; not a CIF"
    what = next((what for pattern, what in TEXTS if pattern.match(head)), "")
    if what:
        return f"no CIF: it looks like {what}"
    return "no CIF: it has no data_ block, 0 of its data blocks list atoms; a CIF starts with data_name"


def _unzipped(content: bytes) -> bytes:
    """The content of a gzip file, up to the size that is read."""
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(content, LARGEST_TEXT + 1)
    except zlib.error as error:
        raise CrystalError("named .gz, but no gzip data; name it as what it is") from error
    if not stream.eof and len(found) <= LARGEST_TEXT:
        raise CrystalError("its gzip data are cut off; fetch the file again")
    return found


def decode(content: bytes) -> str:
    """Text in UTF-8, UTF-16 or, as of old, Windows-1252; a byte order mark is dropped."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return _decoded(content, encoding)
    if len(content) > 3 and content[:4].count(0) == 2:
        return _decoded(content, "utf-16-le" if content[1] == 0 else "utf-16-be")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise CrystalError(f"no text in {encoding.upper()}, as its first bytes say; save it in UTF-8") from error


# ---- other kinds than CIF ----------------------------------------------------------------------------------------


def _structure(read: Callable[[str], Structure], kind: str, text: str) -> Structure:
    """A structure by one of the readers; whatever it stumbles over is a reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(text)
    except CrystalError:
        raise
    except PARSING_ERRORS as error:
        raise CrystalError(f"not a readable {kind.upper()} file ({one_line(error, 100)})") from error


def _from_poscar(text: str) -> Structure:
    from pymatgen.io.vasp import Poscar

    lines = text.splitlines()[:8]
    if len(lines) < 8:
        raise CrystalError("not a readable POSCAR file (cut off)")
    if not re.search(r"[A-Za-z]", lines[5]):
        raise CrystalError("a POSCAR of VASP 4 does not name its elements; add a line of symbols above the counts")
    counts = [int(count) for count in re.findall(r"\d+", lines[6])]
    if sum(counts[:1000]) > LARGEST_LIST or len(counts) > 1000:
        raise CrystalError(f"{sum(counts)} sites; at most {LARGEST_LIST} are read")
    return Poscar.from_str(text).structure


def _from_xyz(text: str) -> Structure:
    import ase
    import ase.io
    from pymatgen.io.ase import AseAtomsAdaptor

    lines = text.splitlines()
    if not lines or not lines[0].strip().isdecimal() or not 0 < int(lines[0].strip()[:9]) <= LARGEST_LIST:
        raise CrystalError(f"an XYZ file starts with the number of its atoms, at most {LARGEST_LIST}")
    if len(lines) < 2 or "lattice=" not in lines[1].lower():
        raise CrystalError('an XYZ file without Lattice="..." in its second line has no unit cell; give it, or a CIF')
    if any(line.strip() for line in lines[2 + int(lines[0]) :]):
        raise CrystalError("holds several structures; keep one")
    atoms = ase.io.read(io.StringIO(text), format="extxyz", index=0)
    if not isinstance(atoms, ase.Atoms) or not atoms.pbc.all():
        raise CrystalError("an XYZ file that is not periodic in all directions (pbc=) is no crystal")
    return AseAtomsAdaptor.get_structure(atoms)


def _from_json(text: str) -> Structure:
    found: Any = json.loads(text)
    if isinstance(found, dict) and isinstance(found.get("structure"), dict):
        found = found["structure"]
    if not isinstance(found, dict) or "lattice" not in found or "sites" not in found:
        raise CrystalError("JSON that is no pymatgen Structure (it needs lattice and sites)")
    sites = found["sites"]
    if not isinstance(sites, list) or not 0 < len(sites) <= LARGEST_LIST:
        raise CrystalError(f"lists no sites, or more than {LARGEST_LIST}")
    species = [_occupants(site["species"]) for site in sites]
    return Structure(Lattice(found["lattice"]["matrix"]), species, [site["abc"] for site in sites])


def _occupants(species: list[dict[str, Any]]) -> dict[str, float]:
    """Occupancy by element; the charges are not read."""
    occupants: dict[str, float] = {}
    for each in species:
        name = str(each["element"])
        occupants[name] = occupants.get(name, 0.0) + float(each["occu"])
    return occupants


READERS: dict[str, Callable[[str], Structure]] = {"poscar": _from_poscar, "xyz": _from_xyz, "json": _from_json}
