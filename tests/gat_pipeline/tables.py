"""Split tables and files made of the shipped sample."""

from pathlib import Path

import pandas as pd
from pymatgen.io.cif import CifWriter

from tc_common.crystals import read_crystal
from tc_common.splits import write_splits
from tests.gat_pipeline.crystals import ROOT, sample_rows


def split_table(number: int, start: int = 0) -> pd.DataFrame:
    """Rows of a split, taken from the sample at even steps."""
    rows = list(sample_rows())
    chosen = rows[start :: max(1, len(rows) // number)][:number]
    table = pd.DataFrame(chosen)[["material_id", "formula", "tc", "cif", "family"]]
    return table.assign(
        tc=table["tc"].astype(float),
        cif=[str(ROOT / cif) for cif in table["cif"]],
        mp_id="",
        chemical_system="",
        weight=1.0,
    )


def write_small_splits(folder: Path, train: int = 8, val: int = 3, test: int = 3) -> dict[str, pd.DataFrame]:
    """Three small split files of different materials."""
    splits = {"train": split_table(train, 0), "val": split_table(val, 1), "test": split_table(test, 2)}
    taken: set[str] = set()
    for name, table in splits.items():
        splits[name] = table[~table["material_id"].isin(taken)]
        taken |= set(table["material_id"])
    write_splits(folder, splits)
    return splits


def write_with_other_structures(folder: Path, **sizes: int) -> dict[str, pd.DataFrame]:
    """Small split files whose training and validation materials have two larger cells each as other structures."""
    splits, others = write_small_splits(folder, **sizes), []
    for name in ("train", "val"):
        for row in splits[name].to_dict("records"):
            for step in (1, 2):
                material_id = f"{row['material_id']}-larger-{step}"
                path = folder / f"{material_id}.cif"
                structure = read_crystal(Path(row["cif"]))
                structure.scale_lattice(structure.volume * (1 + step / 20))
                path.write_text(str(CifWriter(structure)), encoding="utf-8")
                others.append(row | {"material_id": material_id, "cif": str(path), "split": name})
    write_splits(folder, splits, pd.DataFrame(others))
    return splits
