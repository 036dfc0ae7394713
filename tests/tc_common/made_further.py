"""Split files of the shipped sample's compounds under other names, with larger cells as other structures."""

from pathlib import Path

import pandas as pd
from pymatgen.io.cif import CifWriter

from tc_common.crystals import read_crystal
from tc_common.further import ROOT
from tc_common.splits import SPLITS, read_splits, write_splits

COMPOUNDS = {"train": ("MgB2", "Nb3Sn", "V3Si", "Pb"), "val": ("Nb3Ge", "NbC"), "test": ("Nb3Al", "NbN", "Nb3Ga")}


def sample_row(compound: str) -> dict[str, object]:
    """The first crystal at ambient pressure of a compound of the sample, as a row of a split file."""
    table = pd.read_csv(ROOT / "data" / "sample" / "sample.csv")
    row = table[table["material_id"].str.startswith(f"{compound}-") & (table["pressure_GPa"] == 0)].iloc[0]
    facts = {"mp_id": "", "chemical_system": compound, "family": row["family"], "weight": 1.0}
    return {"material_id": f"m-{compound}", **row[["formula", "tc"]], "cif": str(ROOT / row["cif"]), **facts}


def larger_cell(folder: Path, row: dict[str, object], factor: float) -> dict[str, object]:
    """The same compound in a cell of `factor` times the volume."""
    structure = read_crystal(Path(str(row["cif"])))
    structure.scale_lattice(structure.volume * factor)
    path = folder / f"{row['material_id']}-{factor}.cif"
    path.write_text(str(CifWriter(structure)), encoding="utf-8")
    return row | {"material_id": path.stem, "cif": str(path)}


def write_further_splits(folder: Path, factors: tuple[float, ...] = (1.05, 1.1)) -> dict[str, pd.DataFrame]:
    """`COMPOUNDS` as split files; each has one more structure per factor."""
    folder.mkdir(parents=True)
    splits = {name: pd.DataFrame([sample_row(compound) for compound in COMPOUNDS[name]]) for name in SPLITS}
    others = [
        larger_cell(folder, {str(key): value for key, value in row.items()}, factor) | {"split": name}
        for name in SPLITS
        for row in splits[name].to_dict("records")
        for factor in factors
    ]
    write_splits(folder, splits, pd.DataFrame(others) if others else None)
    return read_splits(folder)
