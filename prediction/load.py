"""The folder of shipped files, and the model that one of them or several make.

    alignn.safetensors, alignn.json            the graph network and its card
    alignn_2.safetensors, alignn_2.json, ...   further trainings of it, where their mean is shipped
    dinov3.safetensors, dinov3.json            the vision network and its card, where one is shipped
    ensemble.json                              members and weights
    <model>_val_predictions.csv                what the model's intervals are made of
    training.csv, training.safetensors         what the models learned from; its crystal vectors and distances

Every card names the sha256 of every file it needs; a file that has another one is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch

from baselines.run import NAME as COMPOSITION
from dinov3_pipeline.model import load_model as load_vision
from gat_pipeline.evaluate_pretrained import NAME as ZERO_SHOT
from gat_pipeline.model import load_model, model_of
from gat_pipeline.weights import find_weights
from prediction.models import AlignnModel, Array, BaseModel, SeedEnsemble, TreeModel, VisionModel
from prediction.novelty import Training, read_training
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.files import read_csv, sha256
from tc_common.model_files import read_card
from tc_common.predictions import read_predictions

ModelName: TypeAlias = Literal["alignn", "dinov3", "ensemble"]
TRAINING, VECTORS = "training.csv", "training.safetensors"
TRAINING_COLUMNS = ("material_id", "formula", "tc")
MADE_BY = "python -m prediction.ship"
COVERAGE = 0.9
# Trainings besides the first.
FURTHER = r"alignn_[0-9]+\.safetensors"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that is ready to predict."""

    model: str
    members: list[BaseModel]
    weights: Array
    """(M,) of the members, summing to 1."""
    validation: pd.DataFrame | None
    """Predictions that the intervals are made of: `tc, tc_pred` and perhaps `tc_std`, in K; None for no intervals."""
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
        members: list[BaseModel] = [VisionModel("dinov3", load_vision(checkpoint).to(place(device, "fp32").device))]
        validation = None if val_predictions is None else read_predictions(val_predictions)
        return Predictor("dinov3", members, np.ones(1), validation, training_of(models_dir))
    card = checked_card(models_dir, model)
    weights = weights_of(card) if model == "ensemble" else {model: 1.0}
    members = [member_of(models_dir, name, card, device) for name in weights]
    validation = read_predictions(models_dir / f"{model}_val_predictions.csv")
    return Predictor(model, members, np.array([*weights.values()]), validation, training_of(models_dir))


def training_of(models_dir: Path) -> Training:
    """The training materials and what their distances need."""
    table = read_csv(models_dir / TRAINING, TRAINING_COLUMNS, MADE_BY)
    return read_training(table, models_dir / VECTORS)


def checked_card(models_dir: Path, model: str) -> dict[str, Any]:
    """The model's card, once the files it names were found to be those it means.

    Raises:
        UserError: the model is not shipped, or a file is missing or another one.
    """
    path = models_dir / f"{model}.json"
    if not path.is_file():
        raise UserError(f"no {model} model is shipped in {models_dir} ({path.name} is missing); {_remedy(model)}")
    card = read_card(path)
    companions = card.get("files")
    if not isinstance(companions, dict) or not companions:
        raise UserError(f"{path} names no files; make it again with: {MADE_BY}")
    for name, digest in companions.items():
        if Path(str(name)).name != name:
            raise UserError(f"{path} names a file of another folder, {str(name)[:80]!r}; fetch the folder again")
        file = models_dir / name
        if not file.is_file():
            raise UserError(f"{file} is missing, which {path.name} needs; fetch the folder again")
        if sha256(file) != digest:
            raise UserError(f"{file} is not the file that {path.name} describes; fetch the folder again")
    return card


def _remedy(model: str) -> str:
    if model == "dinov3":
        return (
            "train one with python -m dinov3_pipeline.train and name it: --dinov3-checkpoint models/dino_best.pth, "
            "or use --model alignn"
        )
    return f"make it with {MADE_BY}, or name its folder with --models-dir"


def weights_of(card: dict[str, Any]) -> dict[str, float]:
    """Weights of an ensemble's members, those that count nothing left out.

    Raises:
        UserError: they are no weights.
    """
    try:
        weights = {str(name): float(weight) for name, weight in card["weights"].items() if float(weight) != 0}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the ensemble's card has no weights ({error}); make it again with: {MADE_BY}") from error
    if not weights or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
        raise UserError(f"the ensemble's weights {weights} are no shares of 1; make them again with: {MADE_BY}")
    return weights


def member_of(models_dir: Path, name: str, card: dict[str, Any], device: str) -> BaseModel:
    """One model of a predictor by its name.

    Raises:
        UserError: its files are damaged, or the name is unknown.
    """
    on = place(device, "fp32").device
    if name == "alignn":
        return trainings_of(models_dir, card, on)
    if name == "dinov3":
        return VisionModel(name, load_vision(models_dir / "dinov3.safetensors").to(on))
    if name == ZERO_SHOT:
        return AlignnModel(name, zero_shot_model(card).to(on))
    if name == COMPOSITION:
        table = read_csv(models_dir / TRAINING, TRAINING_COLUMNS, MADE_BY)
        try:
            return TreeModel(name, table, str(card["trees"]["kind"]), int(card["trees"]["seed"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the ensemble's card does not say which trees ({error}); make it again: {MADE_BY}"
            ) from error
    raise UserError(f"the ensemble's member {name} cannot be computed here; make it again with: {MADE_BY}")


def trainings_of(models_dir: Path, card: dict[str, Any], on: torch.device) -> BaseModel:
    """The graph network, or the mean of all its trainings that the card needs.

    Raises:
        UserError: a file is damaged, or the trainings read different graphs.
    """
    further = sorted((name for name in card.get("files", {}) if re.fullmatch(FURTHER, name)), key=_number)
    paths = [models_dir / name for name in ("alignn.safetensors", *further)]
    if cardless := [name for name in further if name.replace(".safetensors", ".json") not in card["files"]]:
        raise UserError(f"{models_dir}: the card names {cardless[0]} without the .json beside it; use {MADE_BY}")
    networks = [AlignnModel("alignn", load_model(path).to(on)) for path in paths]
    for path, network in zip(paths, networks, strict=True):
        if network.model.options != networks[0].model.options:
            raise UserError(f"{path} reads other graphs than {paths[0].name}; make them again with: {MADE_BY}")
    return SeedEnsemble("alignn", networks) if further else networks[0]


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def zero_shot_model(card: dict[str, Any]) -> Any:
    """The shipped pre-trained network, if it is the one that the ensemble was made with."""
    weights = find_weights("pretrained", Path("models/downloads"))
    assert weights is not None
    if weights.origin != card.get(ZERO_SHOT):
        raise UserError(f"the ensemble was made with {card.get(ZERO_SHOT)}, but {weights.origin} is shipped now")
    return model_of(weights)
