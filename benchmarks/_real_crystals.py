"""The real crystals that benchmarks run on."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from data.archives import unpack
from data.tables import rows_3dsc


def archive_3dsc() -> Path | None:
    """The 3DSC archive below `$SUPERVISION_DATA`; where it is absent, say so: None."""
    root = os.environ.get("SUPERVISION_DATA")
    if not root:
        print("skipped: set SUPERVISION_DATA to the folder that holds 3dsc/3DSC_MP.tar.gz")
        return None
    archive = Path(root) / "3dsc" / "3DSC_MP.tar.gz"
    if not archive.is_file():
        print(f"skipped: {archive} is absent")
        return None
    return archive


def unpack_3dsc(folder: Path) -> Path | None:
    """Unpack that archive into a new folder; where it is absent, say so: None."""
    archive = archive_3dsc()
    if archive is not None:
        unpack(archive, folder)
    return folder if archive else None


def sample_3dsc(folder: Path, crystals: int, seed: int) -> pd.DataFrame:
    """Random formulas of 3DSC, one structure each (the first by id): `material_id, formula, tc, cif, mp_id, doped`."""
    rows = rows_3dsc(folder).sort_values("material_id").drop_duplicates("formula", ignore_index=True)
    chosen = np.random.default_rng(seed).choice(len(rows), size=min(crystals, len(rows)), replace=False)
    return rows.loc[np.sort(chosen)].reset_index(drop=True)
