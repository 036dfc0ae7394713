"""Predictions of a whole split, one row per material."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import nn

from tc_common.devices import Placement, to_device
from tc_common.signals import Stopped, StopRequest
from tc_common.task import Batch


def predict_materials(
    model: nn.Module, batches: Iterable[Batch], placement: Placement, wish: StopRequest
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
    model: nn.Module, batches: Iterable[Batch], placement: Placement, wish: StopRequest
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
    """One row per material, by id: mean prediction over its samples and, where there are several, their SD (K).

    A prediction that is not finite makes its material's mean not finite (pandas' own mean would leave it out).
    """
    material, ids = pd.factorize(rows["material_id"], sort=True)
    pred_K, samples = rows["tc_pred"].to_numpy(), np.bincount(material)
    mean_K = np.bincount(material, weights=pred_K) / samples
    averaged = pd.DataFrame({"material_id": ids, "tc": rows.groupby(material)["tc"].first(), "tc_pred": mean_K})
    if samples.max() > 1:
        averaged["tc_std"] = np.sqrt(np.bincount(material, weights=(pred_K - mean_K[material]) ** 2) / samples)
    return averaged
