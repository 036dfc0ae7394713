"""Small splits whose Tc follows the composition."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.files import sha256
from tc_common.splits import SPLITS, read_splits, splits_sha256, write_splits

LABELS_TEXT = "name,formula,tc,chemical_system\nNb3Sn1,Nb3Sn,18.0,Nb-Sn\nPb1,Pb,7.2,Pb\n"
METALS = ("Nb", "V", "Ta", "Mo", "Zr", "Ti", "Re", "Hf")


def make_splits(folder: Path, counts: tuple[int, int, int] = (160, 40, 40), seed: int = 0) -> dict[str, pd.DataFrame]:
    """Binary alloys A1-xBx; Tc (K) grows with the share of niobium, with a little noise."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(sum(counts)):
        a, b = random.choice(METALS, 2, replace=False)
        share = round(float(random.uniform(0.05, 0.95)), 3)
        niobium = {a: 1 - share, b: share}.get("Nb", 0.0)
        rows.append((f"m{number:03d}", f"{a}{1 - share:.3f}{b}{share:.3f}", abs(12 * niobium + random.normal(0, 0.3))))
    table = pd.DataFrame(rows, columns=["material_id", "formula", "tc"])
    table = table.assign(cif="x.cif", mp_id="", chemical_system="x", family="other", weight=1.0)
    edges = np.cumsum((0, *counts))
    parts = {name: table[low:high] for name, low, high in zip(SPLITS, edges, edges[1:], strict=False)}
    write_splits(folder, parts)
    return read_splits(folder)


def write_labels(folder: Path, text: str = LABELS_TEXT, **other: object) -> Path:
    """Labels and their report for splits made in `folder`."""
    splits = make_splits(folder, counts=(20, 10, 10))
    path = folder / "extra_labels.csv"
    path.write_text(text, encoding="utf-8")
    facts = {"labels_sha256": sha256(path), "splits_sha256": splits_sha256(splits), "exclude": 0.05}
    path.with_suffix(".json").write_text(json.dumps({**facts, "split": "stratified", **other}), encoding="utf-8")
    return path
