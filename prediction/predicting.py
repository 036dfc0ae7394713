"""What a model says of the materials of a split table, computed exactly as for a user's CIFs."""

from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from prediction.members import CRYSTALS_AT_ONCE, Estimates, Member
from tc_common.crystals import read_crystal


def estimate(member: Member, materials: pd.DataFrame) -> Estimates:
    """Estimates of every material, in the order of the table.

    Raises:
        UserError: a crystal that cannot be read or that the model cannot compute.
    """
    rows = zip(materials["cif"], materials["material_id"], strict=True)
    parts: list[Estimates] = []
    with tqdm(total=len(materials), desc=member.name, unit="crystal", leave=False, disable=None) as bar:
        while batch := list(islice(rows, CRYSTALS_AT_ONCE)):
            prepared = [member.prepare(read_crystal(Path(cif)), material_id) for cif, material_id in batch]
            parts.append(member.predict(prepared))
            bar.update(len(batch))
    return Estimates(
        np.concatenate([part.tc_K for part in parts]),
        _joined([part.std_K for part in parts]),
        _joined([part.vectors for part in parts]),
    )


def _joined(parts: list[NDArray | None]) -> NDArray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
