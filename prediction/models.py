"""Base models behind one interface: prepare each crystal (graph, images, composition), then predict a batch.

Legend: n crystals of a batch, D width of the network's crystal vector, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gat_pipeline.graphs import CrystalGraph, build_graph
from gat_pipeline.inference import infer
from gat_pipeline.model import AlignnTc
from tc_common.composition import fractions_formula
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.metrics import mean_and_spread

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from dinov3_pipeline.network import DinoTcModel
    from prediction.trees import Trees

Array = NDArray[np.float64]
CRYSTALS_AT_ONCE = 16
IMAGES_AT_ONCE = 64
MADE_BY = "python -m prediction.ship"


@dataclass(frozen=True, eq=False)
class Output:
    """A base model's output for n crystals."""

    tc_K: Array
    """(n,)"""
    std_K: Array | None = None
    """(n,) where the model estimates one."""
    vectors: NDArray[np.float32] | None = None
    """(n, D) of the graph network."""


class BaseModel(Protocol):
    """A single model, alone or in a weighted mean."""

    name: str

    def prepare(self, structure: "Structure") -> Any:
        """The model's input for one crystal; a UserError where it cannot be made."""
        ...

    def predict(self, prepared: Sequence[Any]) -> Output:
        """Predict n prepared crystals."""
        ...


@dataclass(frozen=True, eq=False)
class GraphInput:
    """A crystal as the graph network reads it."""

    graph: CrystalGraph
    formula: str
    """Composition, from which the prior of a network that reads one is computed."""


class AlignnModel:
    """ALIGNN on a crystal's graph.

    Args:
        trees: whose prediction is the prior of a network that reads one.
    """

    def __init__(self, name: str, model: AlignnTc, trees: "Trees | None" = None) -> None:
        self.name, self.model, self.trees = name, model.eval(), trees
        if model.reads_prior and trees is None:
            raise UserError(f"{name} corrects the pair's prediction, and no pair is shipped with it: {MADE_BY}")

    def prepare(self, structure: "Structure") -> GraphInput:
        """The crystal's graph."""
        return GraphInput(build_graph(structure, self.model.options), fractions_formula(structure))

    def predict(self, prepared: Sequence[GraphInput]) -> Output:
        """Tc, and the backbone's part of the features as crystal vectors."""
        graphs = [each.graph for each in prepared]
        tc_K, features = infer(self.model, graphs, CRYSTALS_AT_ONCE, self.prior_K(prepared))
        return Output(tc_K, vectors=features[:, : self.model.backbone.num_features].numpy())

    def prior_K(self, prepared: Sequence[GraphInput]) -> Array | None:
        """The trees' prediction (n,), where the network reads it."""
        if not self.model.reads_prior or self.trees is None:
            return None
        return self.trees.predict_formulas([each.formula for each in prepared])[0]


class SeedEnsemble:
    """Mean and SD over trainings of one network with different seeds, as `comparison.mean` computes them."""

    def __init__(self, name: str, trainings: Sequence[AlignnModel]) -> None:
        self.name, self.trainings = name, trainings

    def prepare(self, structure: "Structure") -> GraphInput:
        """The crystal's graph, the same for all."""
        return self.trainings[0].prepare(structure)

    def predict(self, prepared: Sequence[GraphInput]) -> Output:
        """Tc and its SD; the crystal vectors are the first training's."""
        predictions = [training.predict(prepared) for training in self.trainings]
        pred_K = np.stack([prediction.tc_K for prediction in predictions], axis=1)
        equal = np.full(len(predictions), 1 / len(predictions))
        return Output(*mean_and_spread(pred_K, equal, unbiased=True), predictions[0].vectors)


class VisionModel:
    """The vision model: mean and SD over a crystal's standard views."""

    def __init__(self, name: str, model: "DinoTcModel") -> None:
        self.name, self.model = name, model.eval()

    def prepare(self, structure: "Structure") -> dict[str, Tensor]:
        """Images (V, 3, S, S) of the standard views, and whatever else the network reads of the crystal."""
        return self.model.crystal_inputs(structure)

    @torch.inference_mode()
    def predict(self, prepared: Sequence[dict[str, Tensor]]) -> Output:
        """Crystal by crystal: one has up to hundreds of images."""
        kelvin = [self._views_K(inputs) for inputs in prepared]
        return Output(np.array([each.mean() for each in kelvin]), np.array([each.std() for each in kelvin]))

    def _views_K(self, inputs: dict[str, Tensor]) -> Array:
        parts = [self.model({**inputs, "images": part}) for part in inputs["images"].split(IMAGES_AT_ONCE)]
        kelvin: Array = torch.cat(parts).double().cpu().numpy()
        return kelvin


class TreeModel:
    """Trees on composition features, as they were shipped."""

    def __init__(self, name: str, trees: "Trees") -> None:
        self.name, self.trees = name, trees

    def prepare(self, structure: "Structure") -> str:
        """The composition as a formula."""
        return fractions_formula(structure)

    def predict(self, prepared: Sequence[str]) -> Output:
        """Tc and the SD over the trees."""
        return Output(*self.trees.predict_formulas(prepared))


def predict_materials(model: BaseModel, materials: "pd.DataFrame") -> Output:
    """Predict every material of a split, in the order of the table, with predict.py's own code path.

    Raises:
        UserError: a crystal that cannot be read or that the model cannot compute.
    """
    paths = iter(materials["cif"])
    parts: list[Output] = []
    with tqdm(total=len(materials), desc=model.name, unit="crystal", leave=False, disable=None) as bar:
        while batch := list(islice(paths, CRYSTALS_AT_ONCE)):
            prepared = [model.prepare(read_crystal(Path(cif))) for cif in batch]
            parts.append(model.predict(prepared))
            bar.update(len(batch))
    return Output(
        np.concatenate([part.tc_K for part in parts]),
        _joined([part.std_K for part in parts]),
        _joined([part.vectors for part in parts]),
    )


def _joined(parts: list[NDArray | None]) -> NDArray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def combine(outputs: Sequence[Output], weights: Array | None = None) -> "pd.DataFrame":
    """`tc_pred` and where known `tc_std` (K) of n crystals.

    A single model's own; of more than one the weighted mean and the weighted SD about it, as in `comparison.ensemble`.
    """
    import pandas as pd

    if len(outputs) == 1:
        table = pd.DataFrame({"tc_pred": outputs[0].tc_K})
        return table if outputs[0].std_K is None else table.assign(tc_std=outputs[0].std_K)
    assert weights is not None, "a mean of models needs weights"
    mean_K, spread_K = mean_and_spread(np.stack([output.tc_K for output in outputs], axis=1), weights)
    return pd.DataFrame({"tc_pred": mean_K, "tc_std": spread_K})
