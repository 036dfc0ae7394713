"""Predictions of a whole split, one row per material."""

from collections.abc import Iterable

import pandas as pd
import torch
from torch import nn

from tc_common.devices import Placement, to_device
from tc_common.interruption import Interruption, Stopped
from tc_common.task import Batch


def predict_materials(
    model: nn.Module, batches: Iterable[Batch], placement: Placement, wish: Interruption
) -> pd.DataFrame:
    """Columns `material_id, tc, tc_pred` in K, by id, of all processes' batches.

    Several samples of a material (views) are averaged, and their SD stands in `tc_std`.

    Raises:
        Stopped: SIGINT or SIGTERM came to one of the processes.
    """
    placement.share_buffers(model)
    model.eval()
    rows = _sample_rows(model, batches, placement, wish)
    wish.number = int(*placement.largest(wish.number))
    if wish.number:
        raise Stopped(wish.number)
    return average_samples(pd.concat([table for part in placement.gather(rows) for table in part]))


def _sample_rows(
    model: nn.Module, batches: Iterable[Batch], placement: Placement, wish: Interruption
) -> list[pd.DataFrame]:
    """One row per sample; the rest is left out once the run was asked to stop."""
    rows: list[pd.DataFrame] = []
    with torch.inference_mode(), placement.autocast():
        for batch in batches:
            if wish.number:
                break
            kelvin = model(to_device(batch, placement.device)).double().cpu()
            columns = {"material_id": batch["material_id"], "tc": batch["tc"].double(), "tc_pred": kelvin}
            rows.append(pd.DataFrame(columns))
    return rows


def average_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per material, by id: mean prediction over its samples and, where there are several, their SD (K)."""
    by_material = rows.groupby("material_id", sort=True)
    averaged = by_material.agg(tc=("tc", "first"), tc_pred=("tc_pred", "mean")).reset_index()
    if by_material.size().max() > 1:
        averaged["tc_std"] = by_material["tc_pred"].std(ddof=0).to_numpy()
    return averaged
