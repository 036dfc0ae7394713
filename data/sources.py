"""Where crystals come from: the shipped sample, a folder, an archive, a download."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.archives import unpack
from data.tables import rows_3dsc, rows_sample
from tc_common.errors import UserError
from tc_common.files import sha256, write_json

REPO_ROOT = Path(__file__).resolve().parent.parent
SAMPLE_DIR = REPO_ROOT / "data" / "sample"
UNPACK_DIR = REPO_ROOT / "data" / "final" / "MP"
RECORD = "SOURCE.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows of a source and what is known of its origin."""

    rows: pd.DataFrame
    origin: dict[str, Any]


def open_source(source: str, unpack_dir: Path) -> Source:
    """Find the source that `--source` names; archives are unpacked once into `unpack_dir`.

    Raises:
        UserError: there is no such source, or it is not what it should be.
    """
    if source == "sample":
        return Source(rows=rows_sample(SAMPLE_DIR), origin={"name": "sample", "path": relative(SAMPLE_DIR)})
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _archive(path, unpack_dir)
    raise UserError(f"--source {source}: neither 'sample' nor an archive or folder that exists")


def _folder(folder: Path) -> Source:
    """A folder is used where it lies: nothing is copied."""
    folder = folder.resolve()
    if not (folder / "3DSC_MP.csv").is_file() and (folder / "data" / "final" / "MP").is_dir():
        folder = folder / "data" / "final" / "MP"
    origin = {"name": "3dsc", "path": relative(folder), "table_sha256": _sha256_if_there(folder / "3DSC_MP.csv")}
    return Source(rows=rows_3dsc(folder), origin=origin)


def _sha256_if_there(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None


def _archive(archive: Path, unpack_dir: Path) -> Source:
    """Unpack once; a folder that holds another archive's files is never overwritten."""
    digest = sha256(archive)
    record = unpack_dir / RECORD
    if not unpack_dir.exists():
        unpack_dir.parent.mkdir(parents=True, exist_ok=True)
        names = unpack(archive, unpack_dir)
        write_json(record, {"archive": archive.name, "sha256": digest, "files": len(names)})
    elif not record.is_file() or digest not in record.read_text(encoding="utf-8"):
        raise UserError(f"{unpack_dir} holds something else than {archive}; remove it or give another --unpack-dir")
    source = _folder(unpack_dir)
    return Source(rows=source.rows, origin=source.origin | {"archive": archive.name, "archive_sha256": digest})


def relative(path: Path) -> str:
    """Path relative to the repository where inside it, else absolute."""
    path = path.resolve()
    return str(path.relative_to(REPO_ROOT) if path.is_relative_to(REPO_ROOT) else path)
