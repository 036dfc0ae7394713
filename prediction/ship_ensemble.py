"""The ensemble's card: weights, intervals of itself and of its models on composition, limits of the cautions.

Legend: m validation materials, M models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gat_pipeline.evaluate_pretrained import NAME as ZERO_SHOT
from prediction.card import card_of, quality_of
from prediction.cautions import FILE as CAUTIONS
from prediction.cautions import fit_limits, plain_limits, read_limits
from prediction.intervals import fit_intervals
from prediction.load import (
    MEMBER_INTERVALS,
    SHARED,
    load_base_model,
    load_training,
    networks_of,
    weights_of,
)
from prediction.models import Array, BaseModel, Output, combine, predict_materials
from prediction.quality import caution_metadata, cautions_for, pressure_metadata, pressure_sample
from prediction.study import Study
from tc_common.cli import log
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.model_files import read_card
from tc_common.predictions import write_predictions

VALIDATION = "ensemble_val_predictions.csv"
Shipped = dict[str, dict[str, Output]]
"""Output by model and split."""


@dataclass(frozen=True, eq=False)
class Members:
    """The shipped base models with their predictions of `val` and `test`."""

    models: dict[str, BaseModel]
    weights: Array
    """(M,)"""
    made: Shipped

    def combined(self, outputs: dict[str, Output]) -> pd.DataFrame:
        """The weighted mean of what each of them made."""
        return combine([outputs[name] for name in self.models], self.weights)

    def of(self, split: str) -> dict[str, Output]:
        """Predictions of a split by model."""
        return {name: outputs[split] for name, outputs in self.made.items()}


def ship_ensemble(
    folder: Path, study: Study, metadata: dict[str, Any], done: Shipped, device: str, grouped: Path | None
) -> None:
    """Write card and validation predictions of the study's ensemble, and the limits of its cautions.

    Args:
        metadata: what the card begins with, among it the weights and the trees.
        done: predictions of the networks that are shipped.
        grouped: a study with chemical systems held out.
    """
    members = predicted_members(folder, study, metadata, done, device)
    test = study.with_materials("test", members.combined(members.of("test")))
    tables = {"test": test, "val": study.predictions("ensemble", "val")}
    write_predictions(folder / VALIDATION, tables["val"])
    write_limits(folder, study, members)
    metadata = {
        **metadata,
        **quality_of(study, "ensemble", tables, grouped),
        MEMBER_INTERVALS: member_intervals(study, members, {*done}),
        "cautions": measured_cautions(folder, study, members, test),
    }
    cards = [folder / f"{name}.json" for name in members.models if name in done]
    networks = [name for path in cards for name in networks_of(read_card(path), path)]
    files = needed_files(folder, networks, metadata["trees"])
    write_json(folder / "ensemble.json", card_of(study, "ensemble", networks, files, metadata))
    log.info(f"ensemble: {metadata['file_against_study']}, {metadata['cautions']}")


def predicted_members(folder: Path, study: Study, metadata: dict[str, Any], done: Shipped, device: str) -> Members:
    """All base models as they were written, and their predictions, made here where they are not done."""
    weights = weights_of(metadata)
    models = {name: load_base_model(folder, name, metadata, device) for name in weights}
    made = {
        name: done.get(name) or {split: predict_materials(model, study.splits[split]) for split in ("val", "test")}
        for name, model in models.items()
    }
    return Members(models, np.array([*weights.values()]), made)


def member_intervals(study: Study, members: Members, with_card: set[str]) -> dict[str, Any]:
    """Intervals of the base models without a card of their own, each fitted to its validation predictions (m)."""
    return {
        name: fit_intervals(study.with_materials("val", combine([outputs["val"]]))).plain()
        for name, outputs in members.made.items()
        if name not in with_card
    }


def needed_files(folder: Path, networks: list[str], trees: dict[str, Any]) -> list[Path]:
    """Every file that the ensemble is read from."""
    cards = [f"{Path(name).stem}.json" for name in networks]
    names = [*sorted([*networks, *cards]), *(f"{name}.safetensors" for name in trees), VALIDATION, *SHARED, CAUTIONS]
    return [folder / name for name in names]


def write_limits(folder: Path, study: Study, members: Members) -> None:
    """Write the limits of the cautions, from training structures and the models' validation predictions (m, M)."""
    structures = [read_crystal(Path(cif)) for cif in study.splits["train"]["cif"]]
    pred_K = np.stack([output.tc_K for output in members.of("val").values()], axis=1)
    write_json(folder / CAUTIONS, plain_limits(fit_limits(structures, pred_K)))


def measured_cautions(folder: Path, study: Study, members: Members, test: pd.DataFrame) -> dict[str, Any]:
    """How often test materials and the sample's crystals under pressure have a caution."""
    limits, training = read_limits(folder / CAUTIONS), load_training(folder)
    pred_K = test["tc_pred"].to_numpy(float)
    found = cautions_for(study.splits["test"], pred_K, members.of("test"), limits, training)
    sample = pressure_sample()
    outputs = {name: predict_materials(model, sample) for name, model in members.models.items()}
    sample_K = members.combined(outputs)["tc_pred"].to_numpy(float)
    under_pressure = cautions_for(sample, sample_K, outputs, limits, training)
    return {"test": caution_metadata(test, found), "pressure": pressure_metadata(sample, under_pressure)}


def ensemble_metadata(study: Study) -> dict[str, Any]:
    """Weights, and what the base models without a file of their own are computed from.

    The graph network is run even where it has no weight: it says how far a structure is from the training materials,
    and whether a model that sees the structure disagrees.
    """
    shipped_as = {theirs: ours for ours, theirs in study.names.items()}
    stated = study.metrics("ensemble")["weights"]
    weights = {shipped_as.get(name, name): weight for name, weight in stated.items() if weight}
    if len(weights) < sum(map(bool, stated.values())):
        raise UserError("the ensemble weights both alignn and --alignn-name; remove the one that is not shipped")
    weights = {"alignn": 0.0, **weights}
    metadata: dict[str, Any] = {"weights": weights, "command": "python compare_models.py --ensemble"}
    if ZERO_SHOT in weights:
        metadata[ZERO_SHOT] = study.metrics(ZERO_SHOT)["init"]
    return metadata
