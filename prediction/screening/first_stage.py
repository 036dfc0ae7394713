"""The predictor of the cascade's first stage: the ensemble's trees, on composition alone."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tc_common.errors import UserError

if TYPE_CHECKING:
    from prediction.predictor import Predictor

Array = NDArray[np.float64]
ONE_SD = 0.68


class OneSd:
    """Bounds of one SD of the trees' votes: how unsure they are, no calibrated interval."""

    def bounds(self, tc_K: Array, std_K: Array | None) -> tuple[Array, Array]:
        """Lower and upper bounds (n,) in K."""
        assert std_K is not None, "trees vote"
        return np.maximum(tc_K - std_K, 0.0), tc_K + std_K


def trees_name(folder: Path) -> str:
    """Name of the trees with the largest weight in the shipped ensemble, or of any that are shipped.

    Raises:
        UserError: none are.
    """
    from prediction.load import TREES, weights_of
    from tc_common.model_files import read_card

    path = folder / "ensemble.json"
    weights = weights_of(read_card(path)) if path.is_file() else {}
    names = [name for name in TREES if (folder / f"{name}.safetensors").is_file()]
    if not names:
        raise UserError(f"{folder} ships no trees, which --cascade needs first; screen without --cascade")
    return max(names, key=lambda name: weights.get(name, 0.0))


def load_trees(folder: Path, model: str, *, device: str = "cpu") -> "Predictor":
    """In the place of `load_predictor`: the trees alone, whatever `model` is."""
    from prediction.load import load_base_model
    from prediction.predictor import predictor_of

    name = trees_name(folder)
    trees = load_base_model(folder, name, {}, device)
    return predictor_of(folder, name, {name: 1.0}, [trees], OneSd(), {}, coverage=ONE_SD)
