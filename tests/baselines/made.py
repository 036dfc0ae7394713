"""Small splits whose Tc follows the composition."""

from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.splits import SPLITS, read_splits, write_splits

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
