"""Base models behind one interface: prepare each crystal (graph, images, composition), then predict a batch.

Legend: n crystals of a batch, D width of the network's crystal vector, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch import Tensor
from tqdm import tqdm

from dinov3_pipeline.model import DinoTcModel, as_images
from dinov3_pipeline.render.rendering import views
from gat_pipeline.graphs import CrystalGraph, build_graph
from gat_pipeline.inference import infer
from gat_pipeline.model import AlignnTc
from prediction.trees import Trees
from tc_common.composition import fractions_formula
from tc_common.crystals import read_crystal
from tc_common.metrics import mean_and_spread

Array = NDArray[np.float64]
CRYSTALS_AT_ONCE = 16
IMAGES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Prediction:
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

    def prepare(self, structure: Structure) -> Any:
        """The model's input for one crystal; a UserError where it cannot be made."""
        ...

    def predict(self, prepared: Sequence[Any]) -> Prediction:
        """Predict n prepared crystals."""
        ...


class AlignnModel:
    """ALIGNN on a crystal's graph."""

    def __init__(self, name: str, model: AlignnTc) -> None:
        self.name, self.model = name, model.eval()

    def prepare(self, structure: Structure) -> CrystalGraph:
        """The crystal's graph."""
        return build_graph(structure, self.model.options)

    def predict(self, prepared: Sequence[CrystalGraph]) -> Prediction:
        """Tc, and the backbone's part of the features as crystal vectors."""
        tc_K, features = infer(self.model, prepared, CRYSTALS_AT_ONCE)
        return Prediction(tc_K, vectors=features[:, : self.model.backbone.num_features].numpy())


class SeedEnsemble:
    """Mean and SD over trainings of one network with different seeds, as `comparison.mean` computes them."""

    def __init__(self, name: str, trainings: Sequence[AlignnModel]) -> None:
        self.name, self.trainings = name, trainings

    def prepare(self, structure: Structure) -> CrystalGraph:
        """The crystal's graph, the same for all."""
        return self.trainings[0].prepare(structure)

    def predict(self, prepared: Sequence[CrystalGraph]) -> Prediction:
        """Tc and its SD; the crystal vectors are the first training's."""
        predictions = [training.predict(prepared) for training in self.trainings]
        pred_K = np.stack([prediction.tc_K for prediction in predictions], axis=1)
        equal = np.full(len(predictions), 1 / len(predictions))
        return Prediction(*mean_and_spread(pred_K, equal, unbiased=True), predictions[0].vectors)


class VisionModel:
    """The vision model: mean and SD over a crystal's standard views."""

    def __init__(self, name: str, model: DinoTcModel) -> None:
        self.name, self.model = name, model.eval()

    def prepare(self, structure: Structure) -> Tensor:
        """Images (V, 3, S, S) of the standard views."""
        drawn = views(structure, options=self.model.render_options)
        return as_images(drawn, self.model.image_size)

    @torch.inference_mode()
    def predict(self, prepared: Sequence[Tensor]) -> Prediction:
        """Crystal by crystal: one has up to hundreds of images."""
        kelvin = [self._views_K(images) for images in prepared]
        return Prediction(np.array([each.mean() for each in kelvin]), np.array([each.std() for each in kelvin]))

    def _views_K(self, images: Tensor) -> Array:
        device = self.model.mean.device
        parts = [self.model({"images": part.to(device)}) for part in images.split(IMAGES_AT_ONCE)]
        kelvin: Array = torch.cat(parts).double().cpu().numpy()
        return kelvin


class TreeModel:
    """Trees on composition features, as they were shipped."""

    def __init__(self, name: str, trees: Trees) -> None:
        self.name, self.trees = name, trees

    def prepare(self, structure: Structure) -> str:
        """The composition as a formula."""
        return fractions_formula(structure)

    def predict(self, prepared: Sequence[str]) -> Prediction:
        """Tc and the SD over the trees."""
        return Prediction(*self.trees.predict_formulas(prepared))


def predict_materials(model: BaseModel, materials: pd.DataFrame) -> Prediction:
    """Predict every material of a split, in the order of the table, with predict.py's own code path.

    Raises:
        UserError: a crystal that cannot be read or that the model cannot compute.
    """
    paths = iter(materials["cif"])
    parts: list[Prediction] = []
    with tqdm(total=len(materials), desc=model.name, unit="crystal", leave=False, disable=None) as bar:
        while batch := list(islice(paths, CRYSTALS_AT_ONCE)):
            prepared = [model.prepare(read_crystal(Path(cif))) for cif in batch]
            parts.append(model.predict(prepared))
            bar.update(len(batch))
    return Prediction(
        np.concatenate([part.tc_K for part in parts]),
        _joined([part.std_K for part in parts]),
        _joined([part.vectors for part in parts]),
    )


def _joined(parts: list[NDArray | None]) -> NDArray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
