"""The split files: which material is trained on, which one is tested."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv

SPLITS = ("train", "val", "test")
SPLIT_COLUMNS = ("material_id", "formula", "tc", "cif", "mp_id", "chemical_system", "family", "weight")
# Edges of the Tc ranges (K) in which splits are stratified and errors are reported.
TC_EDGES_K = (0.0, 5.0, 15.0, 40.0)
MADE_BY = "python -m data.prepare"


def read_splits(data_dir: Path, limit: int | None = None) -> dict[str, pd.DataFrame]:
    """Read `train`, `val` and `test`, each sorted by `material_id`; `limit` keeps so many of each, see `drawn`.

    Raises:
        UserError: a file is missing or empty, an id stands twice, or a Tc is not a finite number of kelvins.
    """
    splits = {name: _read_split(data_dir / f"{name}.csv") for name in SPLITS}
    ids = pd.concat([table["material_id"] for table in splits.values()])
    if ids.duplicated().any():
        raise UserError(f"{data_dir}: material {ids[ids.duplicated()].iloc[0]} stands twice; run {MADE_BY} again")
    return {name: drawn(table, limit) for name, table in splits.items()}


def drawn(table: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """`limit` rows drawn at random, the same ones every time and among those of a larger limit; None keeps all.

    The first rows would be those whose names begin with A: silver, aluminium, barium.
    """
    if limit is None:
        return table
    place = np.random.default_rng(0).permutation(len(table))
    return table[place < limit].reset_index(drop=True)


def _read_split(path: Path) -> pd.DataFrame:
    table = read_csv(path, SPLIT_COLUMNS, MADE_BY)
    if table.empty:
        raise UserError(f"{path} has no rows; make it again with: {MADE_BY}")
    tc_K = pd.to_numeric(table["tc"], errors="coerce")
    wrong = ~(np.isfinite(tc_K) & (tc_K >= 0))
    if wrong.any():
        row = table[wrong].iloc[0]
        raise UserError(f"{path}: tc of {row['material_id']} is {row['tc']!r}, not a temperature in kelvin")
    return table.assign(tc=tc_K.astype(float)).sort_values("material_id", ignore_index=True)


def write_splits(data_dir: Path, splits: dict[str, pd.DataFrame]) -> None:
    """Write the three split files, sorted by id, each whole or not at all."""
    ids = pd.concat([splits[name]["material_id"] for name in SPLITS])
    assert not ids.duplicated().any(), "a material in two splits"
    for name in SPLITS:
        write_csv(data_dir / f"{name}.csv", splits[name][list(SPLIT_COLUMNS)].sort_values("material_id"))


def splits_sha256(splits: dict[str, pd.DataFrame]) -> str:
    """Fingerprint of who is where with which Tc: hex digest over (split, material_id, tc), whatever the row order."""
    digest = hashlib.sha256()
    for name in (name for name in SPLITS if name in splits):
        for row in splits[name].sort_values("material_id").itertuples():
            digest.update(f"{name}\t{row.material_id}\t{float(row.tc)!r}\n".encode())
    return digest.hexdigest()
