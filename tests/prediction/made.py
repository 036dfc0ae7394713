"""A small study of the shipped sample, trained, compared and shipped by the project's own functions."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from baselines.run import run_baselines, write_baselines
from comparison.ensemble import with_ensembles, write_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather
from comparison.mean import mean_prediction
from gat_pipeline.dataset import GraphDataset, join
from gat_pipeline.inference import predict_all
from gat_pipeline.model import AlignnTc, create_alignn_model
from gat_pipeline.network import NetworkShape
from gat_pipeline.train import GraphTrainConfig
from tc_common.checkpoints import save_checkpoint
from tc_common.files import plain, write_json
from tc_common.predictions import read_predictions, write_predictions
from tc_common.splits import read_splits, splits_sha256
from tc_common.targets import TargetTransform
from tests.gat_pipeline.crystals import sample_graphs, settle
from tests.gat_pipeline.tables import write_small_splits

SHAPE = NetworkShape(hidden=16, embedding=8, alignn_layers=1, gcn_layers=1)


def tiny_alignn(tc_K: pd.Series, seed: int = 3) -> AlignnTc:
    """A network with random weights and the statistics of real crystals; its predictions spread over kelvins."""
    model = create_alignn_model(shape=SHAPE, target=TargetTransform("log1p", torch.tensor(tc_K.to_numpy())), seed=seed)
    settle(model, join(sample_graphs()))
    with torch.no_grad():
        list(model.head.parameters())[-2].mul_(20)
    return model


def save(path: Path, model: torch.nn.Module, config: dict[str, Any], **more: Any) -> None:
    """A checkpoint as a training leaves it."""
    parts = dict.fromkeys(("optimizer_state_dict", "scheduler_state_dict", "rng_state"), None)
    content = {"epoch": 1, "val_loss": 1.0, **parts, "config": config, "model_state_dict": model.state_dict(), **more}
    save_checkpoint(path, content)


def make_study(folder: Path) -> dict[str, pd.DataFrame]:
    """Splits `p`, checkpoint `m/alignn_best.pth` and results `r` of 24 + 12 + 12 sample materials."""
    write_small_splits(folder / "p", 24, 12, 12)
    splits = read_splits(folder / "p")
    model, config = tiny_alignn(splits["train"]["tc"]), GraphTrainConfig(init="random", hidden=16, epochs=1).plain()
    save(folder / "m/alignn_best.pth", model, config)
    add_model(folder / "r", "alignn", splits, {name: _predicted(model, splits[name]) for name in ("val", "test")})
    write_json(folder / "r/alignn_config.json", config)
    write_baselines(folder / "r", run_baselines(splits, seed=42))
    compare(folder)
    return splits


def _predicted(model: AlignnTc, materials: pd.DataFrame) -> pd.DataFrame:
    kelvin = predict_all(model.eval(), GraphDataset(materials, model.options))
    return materials[["material_id", "formula", "tc"]].assign(tc_pred=kelvin)


def add_training(folder: Path, splits: dict[str, pd.DataFrame]) -> None:
    """A second training, `m/second.pth`; the study's ALIGNN becomes the mean of both."""
    path = folder / "r/alignn_metrics.json"
    model = tiny_alignn(splits["train"]["tc"], seed=4)
    config = json.loads((folder / "r/alignn_config.json").read_text())
    save(folder / "m/second.pth", model, {**config, "seed": 43})
    for part, ending in (("val", "val_predictions"), ("test", "predictions")):
        file = folder / f"r/alignn_{ending}.csv"
        write_predictions(file, mean_prediction([read_predictions(file), _predicted(model, splits[part])]))
    write_json(path, {**json.loads(path.read_text()), "init": "mean of 2: random", "seeds": [42, 43]})
    compare(folder)


def add_model(results: Path, name: str, splits: dict[str, pd.DataFrame], tables: dict[str, pd.DataFrame]) -> None:
    """Predictions and metrics of one model."""
    write_predictions(results / f"{name}_val_predictions.csv", tables["val"])
    write_predictions(results / f"{name}_predictions.csv", tables["test"])
    facts = {"model": name, "init": "random", "splits_sha256": splits_sha256(splits), "n_train": len(splits["train"])}
    write_json(results / f"{name}_metrics.json", {**facts, "train_seconds": 1.0, "inference_ms_per_sample": 1.0})


def compare(folder: Path) -> None:
    """What compare_models.py --ensemble writes, without its figures."""
    results = with_ensembles(gather(folder / "r", folder / "p"), ["ensemble"], seed=42)
    write_ensembles(results, folder / "r", 0.9)
    write_json(folder / "r/comparison.json", plain(evaluate(results, Uncertainty(resamples=100))))


def set_weights(folder: Path, weights: dict[str, float]) -> None:
    """Ensemble metrics with other weights."""
    path = folder / "r/ensemble_metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": weights}))
