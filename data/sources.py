"""Data sources: the shipped sample, a folder, an archive, CSV files of CIF texts, a download."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data.archives import TABLE, unpack, whole_folder
from data.download import fetch_3dsc
from data.tables import jarvis_texts, rows_3dsc, rows_jarvis, rows_sample
from tc_common.errors import UserError
from tc_common.files import read_json, sha256, write_json

RECORD = "SOURCE.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows of a source and what is known of its origin."""

    rows: pd.DataFrame
    origin: dict[str, Any]
    # SuperCon gives one Tc for a formula; JARVIS computes one for each structure.
    tc_belongs_to: Literal["formula", "structure"] = "formula"


def open_source(source: str, unpack_dir: Path, digest: str | None = None, url: str | None = None) -> Source:
    """Find what `--source` names; archives and CIF texts are written out once, below `unpack_dir`.

    Raises:
        UserError: there is no such source, or it is not what it should be.
    """
    if source == "sample":
        return Source(rows=rows_sample(SAMPLE_DIR), origin=_origin("sample", SAMPLE_DIR / "sample.csv"))
    if source == "3dsc":
        return _archive(fetch_3dsc(DOWNLOAD_DIR, digest, url), unpack_dir)
    path = JARVIS_DIR if source == "jarvis" else Path(source)
    if path.is_dir():
        return _folder(path, unpack_dir)
    if path.suffix == ".csv" and path.is_file():
        return _jarvis([path], unpack_dir)
    if path.is_file():
        return _archive(path, unpack_dir)
    if source == "jarvis":
        raise UserError(f"put the CSV files (material_id, tc, cif) into {JARVIS_DIR}, or give --source FOLDER")
    raise UserError(f"--source {source}: neither sample, 3dsc nor jarvis, nor an archive, CSV or folder that exists")


def _origin(name: str, table: Path) -> dict[str, Any]:
    return {"name": name, "table": relative(table), "table_sha256": sha256(table)}


def _folder(folder: Path, unpack_dir: Path) -> Source:
    """A folder of either kind is used where it lies: nothing is copied."""
    inside = next((path for path in (folder, folder / "data" / "final" / "MP") if (path / TABLE).is_file()), None)
    if inside is not None:
        return Source(rows=rows_3dsc(inside), origin=_origin("3dsc", inside / TABLE))
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise UserError(f"{folder} holds neither {TABLE} with cifs/ nor CSV files with material_id, tc, cif")
    return _jarvis(tables, unpack_dir)


def _archive(archive: Path, unpack_dir: Path) -> Source:
    """Unpack once; a folder that holds another archive's files is never overwritten."""
    target = unpack_dir / "MP"
    record = {"archive": archive.name, "sha256": sha256(archive)}
    if not _is_there(target, record):
        record["files"] = str(unpack(archive, target))
        write_json(target / RECORD, record | {"table_sha256": sha256(target / TABLE)})
    source = _folder(target, unpack_dir)
    return replace(source, origin=source.origin | {"archive": archive.name, "archive_sha256": record["sha256"]})


def _jarvis(tables: list[Path], unpack_dir: Path) -> Source:
    """Write the CIF texts of the tables out as files, once."""
    target = unpack_dir / "jarvis"
    record = {"tables": " ".join(f"{table.name} {sha256(table)}" for table in tables)}
    if not _is_there(target, record):
        _write_cifs(jarvis_texts(tables), target)
        write_json(target / RECORD, record)
    origin = {"name": "jarvis", "tables": record["tables"]}
    return Source(rows=rows_jarvis(tables, target / "cifs"), origin=origin, tc_belongs_to="structure")


def _is_there(target: Path, record: dict[str, str]) -> bool:
    """Whether `target` was made from what `record` names.

    Raises:
        UserError: it was made from something else, or it is not known from what.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        return False
    try:
        made_from = read_json(target / RECORD)
    except UserError:
        made_from = {}
    if not record.items() <= made_from.items():
        raise UserError(f"{target} holds another source's files; remove it or give another --unpack-dir")
    return True


def _write_cifs(texts: dict[str, str], target: Path) -> None:
    try:
        with whole_folder(target) as folder:
            for name, text in texts.items():
                (folder / "cifs" / f"{name}.cif").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"CIF files cannot be written to {target} ({error.strerror}); give another --unpack-dir"
        ) from error


REPO_ROOT = Path(__file__).resolve().parent.parent
SAMPLE_DIR = REPO_ROOT / "data" / "sample"
DOWNLOAD_DIR = REPO_ROOT / "data" / "raw"
# What `--source jarvis` reads: the CSV files with CIF texts, put there by the user.
JARVIS_DIR = DOWNLOAD_DIR / "jarvis"
# Archives are unpacked to MP/ and CIF texts written out to jarvis/ below this folder.
UNPACK_DIR = REPO_ROOT / "data" / "final"


def relative(path: Path) -> str:
    """Path relative to the repository where inside it, else absolute; links are kept as they are."""
    path = path.absolute()
    return str(path.relative_to(REPO_ROOT) if path.is_relative_to(REPO_ROOT) else path)
