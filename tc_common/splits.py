"""The split files: which materials are for training, validation and test, and their other structures."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tc_common.composition import composition_key, fractions, parse_formula
from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv

SPLITS = ("train", "val", "test")
SPLIT_COLUMNS = ("material_id", "formula", "tc", "cif", "mp_id", "chemical_system", "family", "weight")
# Upper edges of the Tc ranges (K) in which splits are stratified and errors are reported, and the ranges' names.
TC_EDGES_K = (0.0, 5.0, 15.0, 40.0)
TC_RANGES = ("0 K", "(0, 5] K", "(5, 15] K", "(15, 40] K", "> 40 K")
MADE_BY = "python -m data.prepare"
# Further structures of the compositions in the three split files, with the split that each belongs to.
OTHER_STRUCTURES = "other_structures.csv"


def tc_strata(tc_K: ArrayLike) -> NDArray[np.int64]:
    """Position in `TC_RANGES` of each Tc (n,): 0 for no superconductivity, then one per range up to its edge."""
    return np.digitize(np.asarray(tc_K, float), TC_EDGES_K, right=True)


def tc_range(tc_K: ArrayLike) -> list[str]:
    """Name of the range of each Tc (n,)."""
    return [TC_RANGES[stratum] for stratum in tc_strata(tc_K)]


def read_splits(data_dir: Path, limit: int | None = None) -> dict[str, pd.DataFrame]:
    """Read `train`, `val` and `test`, each sorted by `material_id`; `limit` keeps so many of each, see `limited`.

    Raises:
        UserError: a file is missing or empty, an id is listed twice, or a Tc is not a finite number of kelvins.
    """
    splits = {name: _read_split(data_dir / f"{name}.csv") for name in SPLITS}
    ids = pd.concat([table["material_id"] for table in splits.values()])
    if ids.duplicated().any():
        raise UserError(f"{data_dir}: material {ids[ids.duplicated()].iloc[0]} is listed twice; run {MADE_BY} again")
    return {name: limited(table, limit) for name, table in splits.items()}


def limited(table: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """`limit` rows drawn at random, the same ones every time and among those of a larger limit; None keeps all.

    The first rows would be those whose names begin with A: silver, aluminium, barium.
    """
    if limit is None:
        return table
    place = np.random.default_rng(0).permutation(len(table))
    return table[place < limit].reset_index(drop=True)


def read_other_structures(data_dir: Path, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Read the further structures of the compositions in `splits`, sorted by `material_id`.

    Returns:
        `SPLIT_COLUMNS`, `split`, and `chosen`: the id of the material in `splits` with the same composition and split.

    Raises:
        UserError: the file is missing, an id is also in the split files, or a composition belongs to another split.
    """
    path = data_dir / OTHER_STRUCTURES
    table = _read_materials(path, (*SPLIT_COLUMNS, "split"))
    if table.empty:
        return table.assign(chosen="")
    known = pd.concat([split.assign(split=name) for name, split in splits.items()])
    chosen = dict(zip(composition_keys(known), zip(known["material_id"], known["split"], strict=True), strict=True))
    pairs = [chosen.get(key, ("", "")) for key in composition_keys(table)]
    table = table.assign(chosen=[material_id for material_id, _ in pairs])
    wrong = table["material_id"].isin(set(known["material_id"])) | table["material_id"].duplicated()
    wrong |= (table["chosen"] != "") & (table["split"] != [split for _, split in pairs])
    if wrong.any():
        first = table[wrong].iloc[0]["material_id"]
        raise UserError(f"{path}: {first} contradicts the split files; run {MADE_BY} again")
    return table[table["chosen"] != ""].reset_index(drop=True)


def composition_keys(table: pd.DataFrame) -> list[str]:
    """Text that is equal for rows of one composition."""
    keys = {text: composition_key(fractions(parse_formula(text))) for text in table["formula"].unique()}
    return [keys[text] for text in table["formula"]]


def _read_split(path: Path) -> pd.DataFrame:
    table = _read_materials(path, SPLIT_COLUMNS)
    if table.empty:
        raise UserError(f"{path} has no rows; make it again with: {MADE_BY}")
    return table


def _read_materials(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_csv(path, columns, MADE_BY)
    tc_K = pd.to_numeric(table["tc"], errors="coerce")
    wrong = ~(np.isfinite(tc_K) & (tc_K >= 0))
    if wrong.any():
        row = table[wrong].iloc[0]
        raise UserError(f"{path}: tc of {row['material_id']} is {row['tc']!r}, not a temperature in kelvin")
    return table.assign(tc=tc_K.astype(float)).sort_values("material_id", ignore_index=True)


def write_splits(data_dir: Path, splits: dict[str, pd.DataFrame], others: pd.DataFrame | None = None) -> None:
    """Write the three split files and `other_structures.csv`, sorted by id, each whole or not at all.

    Args:
        others: the further structures with their `split`; None writes a file without rows.
    """
    others = pd.DataFrame(columns=[*SPLIT_COLUMNS, "split"]) if others is None else others
    ids = pd.concat([*(splits[name]["material_id"] for name in SPLITS), others["material_id"]])
    assert not ids.duplicated().any(), "a material in two splits"
    write_csv(data_dir / OTHER_STRUCTURES, others[[*SPLIT_COLUMNS, "split"]].sort_values("material_id"))
    for name in SPLITS:
        write_csv(data_dir / f"{name}.csv", splits[name][list(SPLIT_COLUMNS)].sort_values("material_id"))


def splits_sha256(splits: dict[str, pd.DataFrame]) -> str:
    """Fingerprint of who is where with which Tc: hex digest over (split, material_id, tc), whatever the row order."""
    digest = hashlib.sha256()
    for name in (name for name in SPLITS if name in splits):
        for row in splits[name].sort_values("material_id").itertuples():
            digest.update(f"{name}\t{row.material_id}\t{float(row.tc)!r}\n".encode())
    return digest.hexdigest()


def split_kind(folder: Path, splits: dict[str, pd.DataFrame]) -> str:
    """What is never in two of these splits, by their report.json (for folds one folder up).

    Raises:
        UserError: there is no report, or it is of other splits.
    """
    for path in (folder / "report.json", folder.parent / "report.json"):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            known = {division["splits_sha256"] for division in report["divisions"].values()}
            kind = str(report["config"]["split"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read as a report; make it with: {MADE_BY}") from error
        if splits_sha256(splits) in known:
            return kind
    raise UserError(f"{folder}: no report.json of these splits; make them again with: {MADE_BY}")
