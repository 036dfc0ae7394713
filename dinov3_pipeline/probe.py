"""What a network without labels has learnt of Tc, for the log: the error of the materials that it finds most similar.

Legend: n materials, V views of each, S side of an image in pixels, D width of the features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from dinov3_pipeline.backbones import SMALLEST_SPREAD
from dinov3_pipeline.images import ImageArray
from dinov3_pipeline.self_distillation import feature_spread
from tc_common.training import TrainingError

PROBE_VIEWS = 3  # along a, b and c of the first supercell, which come first
PROBE_NEIGHBOURS = 10


@dataclass(frozen=True)
class Probe:
    """Labelled materials for the log, images (n, V, S, S, 3): Tc of the most similar ones against the measured."""

    known: pd.DataFrame
    known_images: ImageArray
    asked: pd.DataFrame
    asked_images: ImageArray

    def predict(self, describe: Callable[[ImageArray], Tensor]) -> tuple[pd.DataFrame, float]:
        """Columns `material_id, tc, tc_pred` (K) of those asked about, and the spread of the known ones' features."""
        known, asked = describe(self.known_images), describe(self.asked_images)
        nearest = (asked @ known.T).topk(min(PROBE_NEIGHBOURS, len(known)), dim=1).indices
        tc_K = torch.tensor(self.known["tc"].to_numpy())[nearest].median(1).values
        return self.asked[["material_id", "tc"]].assign(tc_pred=tc_K.numpy()), feature_spread(known)


def describe(features: Callable[[Tensor], Tensor], images: ImageArray, at_once: int = 64) -> Tensor:
    """Unit features (n, D) of images (n, V, S, S, 3), averaged over the V views."""
    rows = []
    for start in range(0, len(images), at_once):
        some = torch.from_numpy(images[start : start + at_once, :PROBE_VIEWS].transpose(0, 1, 4, 2, 3).copy())
        rows.append(features(some.flatten(0, 1)).unflatten(0, some.shape[:2]).mean(1))
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1)


def require_spread(spread: float, epoch: int) -> None:
    """Stop a run whose network describes all crystals alike.

    Raises:
        TrainingError: it does.
    """
    if not spread >= SMALLEST_SPREAD:
        raise TrainingError(
            f"epoch {epoch}: the features have collapsed (spread {spread:.3f}, at least {SMALLEST_SPREAD} is needed); "
            "try a lower --lr, a lower --teacher-temperature or more --koleo-weight"
        )
