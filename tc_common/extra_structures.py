"""Extra structures: crystals of the extra labels, made by `python -m data.dope` for one set of split files.

They are training samples like any other; whoever reads them checks that they belong to the splits, as with the labels.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tc_common.labels import LABEL_COLUMNS, ExtraLabels, read_extra_labels
from tc_common.splits import limited

EXTRA_STRUCTURES = "extra_structures.csv"
MADE_BY = "python -m data.dope"
# What the id of every row begins with.
ID_PREFIX = "extra-"
EXTRA_COLUMNS = (*LABEL_COLUMNS, "material_id", "cif", "weight", "template", "distance")


def read_extra_structures(data_dir: Path, wanted: bool, limit: int | None = None) -> ExtraLabels | None:
    """The labels with a structure, made for the split files in `data_dir`; None if they are not wanted.

    Args:
        limit: draw so many of them.

    Raises:
        UserError: the file is missing, was changed, or belongs to other splits.
    """
    if not wanted:
        return None
    extra = read_extra_labels(data_dir / EXTRA_STRUCTURES, data_dir, EXTRA_COLUMNS, MADE_BY, "--data-dir")
    return replace(extra, table=limited(extra.table, limit))


def with_structures(materials: pd.DataFrame, extra: ExtraLabels | None) -> pd.DataFrame:
    """Materials and extra structures, in this order, in the materials' columns."""
    if extra is None:
        return materials
    return pd.concat([materials, extra.table.reindex(columns=materials.columns)], ignore_index=True)


def facts_of_structures(extra: ExtraLabels | None) -> dict[str, Any]:
    """What metrics, checkpoints and cards say of them; nothing if none were learned from."""
    return {} if extra is None else {"extra_structures": len(extra.table), "extra_labels_exclude": extra.exclude}
