"""The predictor of the cascade's first stage: the ensemble's trees, on composition alone."""

from pathlib import Path

import numpy as np

from prediction.cautions import read_limits
from prediction.intervals import Intervals
from prediction.known import read_known
from prediction.load import TREES, load_base_model, load_training, weights_of
from prediction.models import Array
from prediction.predictor import KNOWN, LIMITS, Predictor
from tc_common.errors import UserError
from tc_common.model_files import read_card


class OneSd(Intervals):
    """Bounds of one SD of the trees' votes: how unsure they are, no calibrated interval."""

    def bounds(self, tc_K: Array, std_K: Array | None = None) -> tuple[Array, Array]:
        """Lower and upper bounds (n,) in K."""
        assert std_K is not None, "trees vote"
        return np.maximum(tc_K - std_K, 0.0), tc_K + std_K


def trees_name(folder: Path) -> str:
    """Name of the trees with the largest weight in the shipped ensemble, or of any that are shipped.

    Raises:
        UserError: none are.
    """
    path = folder / "ensemble.json"
    weights = weights_of(read_card(path)) if path.is_file() else {}
    names = [name for name in TREES if (folder / f"{name}.safetensors").is_file()]
    if not names:
        raise UserError(f"{folder} ships no trees, which --cascade needs first; screen without --cascade")
    return max(names, key=lambda name: weights.get(name, 0.0))


def load_trees(folder: Path, model: str, *, device: str = "cpu") -> Predictor:
    """In the place of `load_predictor`: the trees alone, whatever `model` is.

    Raises:
        UserError: the folder ships none.
    """
    name = trees_name(folder)
    return Predictor(
        model=name,
        folder=folder,
        base_models=[load_base_model(folder, name, {}, device)],
        weights=np.ones(1),
        intervals=OneSd(coverage=0.68, edges_K=(), factors=(1.0,), by_std=True),
        member_intervals={},
        training=load_training(folder),
        known_compounds=read_known(folder / KNOWN),
        limits=read_limits(folder / LIMITS),
        coverage=0.68,
    )
