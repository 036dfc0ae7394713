"""Source tables: whatever their columns are called, rows get one form."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from tc_common.composition import parse_formula
from tc_common.errors import UserError

# One row of any source: its line, its names, what was measured, where its structure lies.
# `status` is empty as long as the row is included, else why it is not; no row ever leaves the table.
ROW_COLUMNS = (
    "row", "material_id", "formula", "formula_in_structure", "tc", "cif", "mp_id", "parent", "doped", "status",
    "reason",
)  # fmt: skip
REJECTED = "rejected"
# The highest Tc ever confirmed is 250-260 K (LaH10 near 170-190 GPa: Drozdov 2019, doi 10.1038/s41586-019-1201-8;
# Somayazulu 2019, doi 10.1103/PhysRevLett.122.027001). Beyond 300 K a table has slipped a digit or a column.
LARGEST_TC_K = 300.0
LARGEST_TABLE_BYTES = 500_000_000
# Ids become file names (images, caches), so they hold nothing that a file system or a shell reads.
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,149}")
MP_ID = re.compile(r"-MP-(m[pv]c?-\d+)")


def read_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV as text, with or without a first line that starts with `#`.

    Raises:
        UserError: absent, empty, unreadable, or without a required column.
    """
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise UserError(f"{path}: larger than {LARGEST_TABLE_BYTES} bytes; not a table of superconductors")
        with path.open(encoding="utf-8") as stream:
            remark = stream.readline().startswith("#")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # a row longer than the header
            table = pd.read_csv(path, dtype=str, na_filter=False, index_col=False, skiprows=int(remark)).fillna("")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError, ParserError, ParserWarning, EmptyDataError) as error:
        raise UserError(f"{path} is no readable CSV ({error})") from error
    missing = [column for column in required if column not in table]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}; columns there: {', '.join(table.columns[:12])}")
    if table.empty:
        raise UserError(f"{path} has no rows")
    return table.assign(row=np.arange(len(table)) + 2 + remark)


def rows_3dsc(folder: Path) -> pd.DataFrame:
    """Rows of `3DSC_MP.csv` (six columns or the upstream's hundred) with its `cifs/`."""
    table = read_table(folder / "3DSC_MP.csv", ("formula_sc", "tc", "cif"))
    names = table["cif"].map(lambda text: text.rsplit("/", 1)[-1])
    stems = names.str.removesuffix(".cif")
    by_name = names.str.extract(MP_ID.pattern, expand=False).fillna("")
    mp_id = table.get("material_id_2", by_name)
    mp_id = mp_id.where(mp_id != "", by_name)
    return _rows(
        table.assign(material_id=stems, formula=table["formula_sc"], mp_id=mp_id, parent=mp_id),
        doped=names.str.contains("synth_doped", regex=False),
        cif=table["cif"].map(lambda text: _inside(folder / "cifs", text)),
    )


def rows_sample(folder: Path) -> pd.DataFrame:
    """Rows of the shipped `sample.csv`; the prototype takes the place of the parent structure."""
    table = read_table(folder / "sample.csv", ("material_id", "formula", "tc", "cif", "prototype", "doped"))
    return _rows(
        table.assign(mp_id="", parent=table["prototype"]),
        doped=table["doped"].str.lower().isin(("1", "true", "yes")),
        cif=table["cif"].map(lambda text: _inside(folder / "cifs", text)),
    )


def jarvis_texts(tables: list[Path]) -> dict[str, str]:
    """CIF text of every id that is a safe file name (`check_rows` rejects the others)."""
    table = _jarvis_table(tables)
    safe = table[table["material_id"].map(lambda name: bool(SAFE_ID.fullmatch(name)))]
    return dict(zip(safe["material_id"], safe["cif"], strict=True))


def rows_jarvis(tables: list[Path], cifs: Path) -> pd.DataFrame:
    """Rows of CSV files with `material_id`, `tc` and the CIF's text; the formula is read from the structure."""
    table = _jarvis_table(tables)
    return _rows(
        table.assign(formula="", mp_id=table["material_id"], parent=table["material_id"]),
        doped=pd.Series(False, table.index),
        cif=table["material_id"].map(lambda name: str(cifs / f"{name}.cif") if SAFE_ID.fullmatch(name) else ""),
        formula_in_structure=True,
    )


def _jarvis_table(tables: list[Path]) -> pd.DataFrame:
    parts = [read_table(path, ("material_id", "tc", "cif")) for path in sorted(tables)]
    return pd.concat(parts, ignore_index=True).assign(row=lambda table: np.arange(len(table)) + 2)


def _rows(table: pd.DataFrame, doped: pd.Series, cif: pd.Series, formula_in_structure: bool = False) -> pd.DataFrame:
    """Bring a source's columns into `ROW_COLUMNS`, ordered by id so that the file's order does not matter."""
    rows = table.assign(doped=doped, cif=cif, status="", reason="", formula_in_structure=formula_in_structure)
    rows["tc"] = pd.to_numeric(rows["tc"], errors="coerce")
    return rows[list(ROW_COLUMNS)].sort_values(["material_id", "row"], ignore_index=True)


def _inside(folder: Path, text: str) -> str:
    """Path of a CIF in `folder`; empty where the table's text would lead out of it."""
    name = text.rsplit("/", 1)[-1]
    climbs = ".." in text.split("/") or "\\" in text or "\0" in text
    return "" if climbs or not name.endswith(".cif") else str(folder / name)


def check_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Reject rows whatever their structure is: bad id, path, formula or Tc, or an id with two different Tc."""
    rows = reject(rows, ~rows["material_id"].map(lambda name: bool(SAFE_ID.fullmatch(name))), "id is not a safe name")
    rows = reject(rows, rows["cif"] == "", "cif is no name of a .cif file inside the source")
    rows = reject(rows, ~np.isfinite(rows["tc"]), "tc is no number")
    rows = reject(rows, rows["tc"] < 0, "tc is below 0 K")
    rows = reject(rows, rows["tc"] > LARGEST_TC_K, f"tc is above {LARGEST_TC_K:g} K")
    formulas = rows["formula"].map({text: _formula_fault(text) for text in rows["formula"].unique()})
    formulas = formulas.where(~rows["formula_in_structure"], "")
    rows = reject(rows, formulas != "", formulas)
    return _reject_repeats(rows)


def reject(rows: pd.DataFrame, where: pd.Series, reason: "str | pd.Series", status: str = REJECTED) -> pd.DataFrame:
    """Give included rows a status and its reason."""
    hit = where & (rows["status"] == "")
    return rows.assign(status=rows["status"].mask(hit, status), reason=rows["reason"].mask(hit, reason))


def included(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that nothing has excluded."""
    return rows[rows["status"] == ""]


def _formula_fault(text: str) -> str:
    try:
        parse_formula(text)
    except UserError as error:
        return str(error)
    return ""


def _reject_repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """An id that is listed twice is included once if its rows agree, never if they contradict each other."""
    kinds = included(rows).groupby("material_id")[["formula", "tc"]].nunique().max(axis=1)
    contradictory = rows["material_id"].isin(kinds[kinds > 1].index)
    rows = reject(rows, contradictory, "id is listed twice with different formula or tc")
    unique = included(rows).drop_duplicates("material_id").index
    return reject(rows, pd.Series(~rows.index.isin(unique), rows.index), "row repeats another one")


def limit_rows(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Keep `limit` formulas at even steps through the list sorted by Tc, so that a small run sees every range of Tc.

    Depends on formulas and Tc only: not on the order of rows, nor on a seed.
    """
    materials = rows["formula"].where(~rows["formula_in_structure"], rows["material_id"])
    listed = included(rows)["tc"].groupby(materials).median().rename_axis("material").reset_index()
    if limit >= len(listed):
        return rows
    steps = np.unique(np.round(np.linspace(0, len(listed) - 1, limit)).astype(int))
    kept = listed.sort_values(["tc", "material"])["material"].iloc[steps]
    return reject(rows, ~materials.isin(kept), f"beyond --limit {limit}", "limit")
