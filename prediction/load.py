"""Load shipped models and verify their checksums.

    alignn.safetensors, alignn.json            the graph network and its card
    alignn_2.safetensors, alignn_2.json, ...   trainings with other seeds, where their mean is shipped
    dinov3.safetensors, dinov3.json            the vision network and its card, where one is shipped
    pair_with_labels.safetensors, ...          trees on composition that the ensemble gives a weight
    ensemble.json                              base models and their weights
    <model>_val_predictions.csv                validation predictions, to which the intervals in the cards are fitted
    known.csv, cautions.json                   measured compounds; limits beyond which a prediction is doubtful
    training.csv, training.safetensors         training set; its crystal vectors and nearest distances

A card lists its `networks` (weights, one file a training) and the sha256 of every file it needs; a file with another
digest is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch

from dinov3_pipeline.model import load_model as load_vision
from gat_pipeline.evaluate_pretrained import NAME as ZERO_SHOT
from gat_pipeline.model import load_model, model_of
from gat_pipeline.weights import find_weights
from prediction.models import AlignnModel, Array, BaseModel, SeedEnsemble, TreeModel, VisionModel
from prediction.novelty import Training, read_training
from prediction.trees import read_trees
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.files import read_csv, sha256
from tc_common.model_files import read_card
from tc_common.predictions import read_predictions

ModelName: TypeAlias = Literal["alignn", "dinov3", "ensemble"]
TRAINING, VECTORS, KNOWN = "training.csv", "training.safetensors", "known.csv"
TRAINING_COLUMNS = ("material_id", "formula", "tc")
MADE_BY = "python -m prediction.ship"
# Models on composition alone: each is one file of trees.
TREES = ("pair", "pair_with_labels", "composition", "composition_with_labels")
# Whose prediction a network that corrects one reads, if its card does not say.
PRIOR = "pair_with_labels"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that is ready to predict."""

    model: str
    base_models: list[BaseModel]
    weights: Array
    """(M,) of the base models, summing to 1."""
    validation: pd.DataFrame | None
    """Validation predictions behind the intervals: `tc, tc_pred` and perhaps `tc_std`, in K; None for no intervals."""
    training: Training


def load_predictor(
    models_dir: Path,
    model: ModelName,
    device: str,
    checkpoint: Path | None = None,
    val_predictions: Path | None = None,
) -> Predictor:
    """Read the shipped files of one model.

    Args:
        checkpoint: a vision model of the user's own, instead of the shipped one.
        val_predictions: its predictions for its validation materials, for its intervals.

    Raises:
        UserError: nothing is shipped there, or files are missing, damaged or do not belong together.
    """
    if checkpoint is not None:
        vision = VisionModel("dinov3", load_vision(checkpoint).to(place(device, "fp32").device))
        validation = None if val_predictions is None else read_predictions(val_predictions)
        return Predictor("dinov3", [vision], np.ones(1), validation, load_training(models_dir))
    card = checked_card(models_dir, model)
    weights = weights_of(card) if model == "ensemble" else {model: 1.0}
    base_models = [load_base_model(models_dir, name, card, device) for name in weights]
    validation = read_predictions(models_dir / f"{model}_val_predictions.csv")
    return Predictor(model, base_models, np.array([*weights.values()]), validation, load_training(models_dir))


def load_training(models_dir: Path) -> Training:
    """The training materials with what their distances need."""
    table = read_csv(models_dir / TRAINING, TRAINING_COLUMNS, MADE_BY)
    return read_training(table, models_dir / VECTORS)


def checked_card(models_dir: Path, model: str) -> dict[str, Any]:
    """The model's card, with every file that it lists present and of the digest that it states.

    Raises:
        UserError: the model is not shipped, a file is missing or another one, or the card lists no networks.
    """
    path = models_dir / f"{model}.json"
    if not path.is_file():
        raise UserError(f"no {model} model is shipped in {models_dir} ({path.name} is missing); {_remedy(model)}")
    card = read_card(path)
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise UserError(f"{path} names no files; make it again with: {MADE_BY}")
    for name, digest in files.items():
        if Path(str(name)).name != name:
            raise UserError(f"{path} names a file of another folder, {str(name)[:80]!r}; fetch the folder again")
        file = models_dir / name
        if not file.is_file():
            raise UserError(f"{file} is missing, which {path.name} needs; fetch the folder again")
        if sha256(file) != digest:
            raise UserError(f"{file} is not the file that {path.name} describes; fetch the folder again")
    networks = networks_of(card, path)
    needed = {*networks, *(str(Path(name).with_suffix(".json")) for name in networks)} - {path.name}
    if missing := sorted(needed - {*files}):
        raise UserError(f"{path} lists no sha256 of {missing[0]}, which its networks need; make it again: {MADE_BY}")
    return card


def networks_of(card: dict[str, Any], path: Path) -> list[str]:
    """File names of the networks that the card `path` lists, one a training; none where its model needs none.

    Raises:
        UserError: it has no such list, as cards of older releases.
    """
    networks = card.get("networks")
    if not isinstance(networks, list) or not all(isinstance(name, str) and name for name in networks):
        raise UserError(
            f"{path} has no list of its networks (an older release wrote it); make it again with: {MADE_BY}"
        )
    return networks


def _remedy(model: str) -> str:
    if model == "dinov3":
        return (
            "train one with python -m dinov3_pipeline.train and name it: --dinov3-checkpoint models/dino_best.pth, "
            "or use --model alignn"
        )
    return f"make it with {MADE_BY}, or name its folder with --models-dir"


def weights_of(card: dict[str, Any]) -> dict[str, float]:
    """Weights of an ensemble's base models; one of weight 0 is shown beside the mean.

    Raises:
        UserError: they are no weights.
    """
    try:
        weights = {str(name): float(weight) for name, weight in card["weights"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the ensemble's card has no weights ({error}); make it again with: {MADE_BY}") from error
    if not weights or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
        raise UserError(f"the ensemble's weights {weights} do not sum to 1; make them again with: {MADE_BY}")
    return weights


def load_base_model(models_dir: Path, name: str, card: dict[str, Any], device: str) -> BaseModel:
    """A base model by its name; `card` is that of the model or of the ensemble it belongs to.

    Raises:
        UserError: its files are damaged, or the name is unknown.
    """
    on = place(device, "fp32").device
    if name in TREES:
        return TreeModel(name, read_trees(models_dir / f"{name}.safetensors"))
    if name == "alignn":
        return load_seed_ensemble(models_dir, on)
    if name == "dinov3":
        return VisionModel(name, load_vision(models_dir / "dinov3.safetensors").to(on))
    if name == ZERO_SHOT:
        return AlignnModel(name, zero_shot_model(card).to(on))
    raise UserError(f"the ensemble's model {name} is unknown here; make it again with: {MADE_BY}")


def load_seed_ensemble(models_dir: Path, on: torch.device) -> BaseModel:
    """The graph network, or the mean of all its trainings that its card lists.

    Raises:
        UserError: a file is damaged, or the trainings read different graphs.
    """
    card = models_dir / "alignn.json"
    paths = [models_dir / name for name in networks_of(read_card(card), card)]
    if not paths:
        raise UserError(f"{card} lists no network; make it again with: {MADE_BY}")
    networks = [AlignnModel("alignn", load_model(path).to(on)) for path in paths]
    for path, network in zip(paths, networks, strict=True):
        if network.model.options != networks[0].model.options:
            raise UserError(f"{path} reads other graphs than {paths[0].name}; make them again with: {MADE_BY}")
    return SeedEnsemble("alignn", networks) if len(networks) > 1 else networks[0]


def zero_shot_model(card: dict[str, Any]) -> Any:
    """The shipped pre-trained network, if it is the one that the ensemble was made with."""
    weights = find_weights("pretrained", Path("models/downloads"))
    assert weights is not None
    if weights.origin != card.get(ZERO_SHOT):
        raise UserError(f"the ensemble was made with {card.get(ZERO_SHOT)}, but {weights.origin} is shipped now")
    return model_of(weights)
