"""Extra labels for given split files, and their structures."""

import json
from pathlib import Path

import pandas as pd

from data.dope import DopeConfig
from data.dope import main as dope
from tc_common.composition import chemical_system, fractions, parse_formula
from tc_common.files import sha256
from tc_common.splits import read_splits, splits_sha256

# Near MgB2 and near Nb3Sn; Al is a crystal of the sample from the literature.
LABELS = {"Mg0.9Al0.1B2": 35.0, "Nb3Sn0.8Ge0.2": 19.0, "Al": 1.2}


def write_labels(data_dir: Path, labels: dict[str, float] | None = None) -> None:
    """`extra_labels.csv` and its report, as `python -m data.supercon` writes them."""
    chosen = LABELS if labels is None else labels
    rows = [(name, name, tc_K, chemical_system(fractions(parse_formula(name)))) for name, tc_K in chosen.items()]
    path = data_dir / "extra_labels.csv"
    pd.DataFrame(rows, columns=["name", "formula", "tc", "chemical_system"]).to_csv(path, index=False)
    facts = {"labels_sha256": sha256(path), "splits_sha256": splits_sha256(read_splits(data_dir))}
    path.with_suffix(".json").write_text(json.dumps({**facts, "exclude": 0.01, "split": "stratified"}))


def write_extra_structures(data_dir: Path) -> None:
    """The labels and their doped structures."""
    write_labels(data_dir)
    dope(DopeConfig(data_dir=data_dir))
