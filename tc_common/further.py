"""Materials of the further tests: other structures of the compositions held out, and crystals from the literature.

Users bring any structure file of a compound; validation and test materials are one chosen file of each. So every
model also predicts the other files of these compositions (same Tc), and the sample's crystals at ambient pressure.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from tc_common.cli import log
from tc_common.composition import ROUNDING, nearest_distance
from tc_common.files import read_csv
from tc_common.labels import ExtraLabels
from tc_common.splits import OTHER_STRUCTURES, SPLITS, limited, read_other_structures

# Other structures of validation and of test compositions, by the name in their files.
OTHERS = {"val_other_structures": "val", "other_structures": "test"}
LITERATURE = "literature"
FURTHER_TESTS = (*OTHERS, LITERATURE)
# What else a prediction file of a further test states: the chosen structure's id; for the literature whether the
# model was fitted on the composition, the split that holds it (or none), and its family.
FACTS = ("chosen", "known", "split", "family")
# Formulas closer than this fraction of the atoms are one composition: two sources round differently.
SAME_COMPOSITION = 0.005
NO_SPLIT = "none"
ROOT = Path(__file__).resolve().parents[1]
SAMPLE_COLUMNS = ("material_id", "formula", "tc", "cif", "family", "pressure_GPa")


def further_materials(
    data_dir: Path,
    splits: dict[str, pd.DataFrame],
    limit: int | None = None,
    labels: ExtraLabels | None = None,
    learned: Collection[str] = (),
) -> dict[str, pd.DataFrame]:
    """Materials of each of `FURTHER_TESTS` that has any: `material_id, formula, tc` (K), `cif`, and its `FACTS`.

    Args:
        splits: those that the model was made with, of the files in `data_dir`.
        limit: draw so many crystals from the literature; the other structures follow the materials in `splits`.
        labels: further compositions that the model was fitted on.
        learned: ids of crystals from the literature that count as known for another reason.

    Raises:
        UserError: `other_structures.csv` or the sample cannot be read, or contradicts the split files.
    """
    tables = {**_other_structures(data_dir, splits), LITERATURE: _literature(splits, limit, labels, learned)}
    return {name: table for name, table in tables.items() if len(table)}


def _other_structures(data_dir: Path, splits: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    path = data_dir / OTHER_STRUCTURES
    if not path.exists():
        log.warning(f"{path} is missing: no predictions of other structures (python -m data.prepare makes the file)")
        return {}
    table = read_other_structures(data_dir, splits)
    columns = ["material_id", "formula", "tc", "cif", "chosen"]
    return {name: table.loc[table["split"] == split, columns] for name, split in OTHERS.items()}


def _literature(
    splits: dict[str, pd.DataFrame], limit: int | None, labels: ExtraLabels | None, learned: Collection[str]
) -> pd.DataFrame:
    """The sample's crystals at ambient pressure; none where the split files were made of the sample."""
    table = read_csv(ROOT / "data" / "sample" / "sample.csv", SAMPLE_COLUMNS, "python -m data.sample.build")
    if table["material_id"].isin(pd.concat([splits[name]["material_id"] for name in SPLITS])).any():
        log.info("the split files were made of the literature sample: no predictions of it")
        return table.iloc[:0]
    table = limited(table[table["pressure_GPa"] == 0].reset_index(drop=True), limit)
    table = table.assign(cif=[str(ROOT / cif) for cif in table["cif"]], split=_splits_of(table["formula"], splits))
    known = (table["split"] == "train") | table["material_id"].isin(learned)
    if labels is not None:
        distance = nearest_distance(table["formula"].tolist(), labels.table["formula"].tolist())
        known |= distance <= max(labels.exclude, SAME_COMPOSITION) + ROUNDING
    return table.assign(known=known)[["material_id", "formula", "tc", "cif", "known", "split", "family"]]


def learned_literature(splits: dict[str, pd.DataFrame], labels: ExtraLabels | None) -> frozenset[str]:
    """Ids of crystals from the literature whose composition these labels hold; none without labels."""
    table = _literature(splits, None, labels, ())
    return frozenset(table.loc[table["known"], "material_id"]) if labels is not None and len(table) else frozenset()


def _splits_of(formulas: pd.Series, splits: dict[str, pd.DataFrame]) -> list[str]:
    """Name of the first split that holds each composition, or `NO_SPLIT`."""
    found = pd.Series(NO_SPLIT, index=formulas.index)
    for name in reversed(SPLITS):
        distance = nearest_distance(formulas.tolist(), splits[name]["formula"].tolist())
        found[distance <= SAME_COMPOSITION + ROUNDING] = name
    return found.tolist()
