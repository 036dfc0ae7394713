"""Add k-nearest-neighbour retrieval of training materials to a trained network.

    python -m gat_pipeline.add_retrieval                                    # models/alignn_best.pth
    python -m gat_pipeline.add_retrieval --checkpoint runs/a/alignn_best.pth --models-dir runs/a --results-dir out/a

Nothing is trained: the training materials' features are stored, and two numbers (kernel bandwidth and mixing weight)
are chosen on the validation materials. Writes `<models-dir>/<name>_best.pth`, a checkpoint like any other, and into
`<results-dir>` predictions, metrics and settings as a trainer does.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gat_pipeline.allocator import tune_memory
from gat_pipeline.dataset import GraphDataset
from gat_pipeline.inference import infer, predict_all, predict_further
from gat_pipeline.model import AlignnTc, load_model
from gat_pipeline.weights import current_names
from tc_common.checkpoints import checkpoint_of, load_checkpoint, save_checkpoint
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.extra_structures import facts_of_structures, with_structures
from tc_common.files import write_json
from tc_common.lock import lock_folder
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.prior import FACTS, Prior, read_prior
from tc_common.results import metrics_of, write_further, write_results
from tc_common.retrieval import FeatureSet, fit, retrieval_metrics
from tc_common.splits import read_splits
from tc_common.structures import extra_of_training


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Settings."""

    checkpoint: Path = Path("models/alignn_best.pth")
    """The trained network."""
    data_dir: Path = Path("data/processed")
    """Folder with the train.csv, val.csv and test.csv it was trained with (Tc in K)."""
    prior: Path | None = None
    """The prior that the network was trained with, if it was."""
    models_dir: Path = Path("models")
    """Folder for the network with retrieval."""
    results_dir: Path = Path("results")
    """Folder for predictions, metrics and settings."""
    name: str = "alignn_neighbours"
    """Name of the model: beginning of its files' names."""
    cache_dir: Path = Path("data/cache/graphs")
    """Folder for built graphs."""
    batch_size: int = 32
    """Crystals computed at once (>= 1)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    limit: int | None = None
    """The network was trained with this --limit (materials per split, >= 1)."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("--batch-size and --limit must be at least 1")
        if not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")

    @property
    def path(self) -> Path:
        """Checkpoint of the network with retrieval."""
        return self.models_dir / f"{self.name}_best.pth"


def require_free(path: Path) -> None:
    """Refuse to overwrite a training.

    Raises:
        UserError: `path` is a checkpoint without retrieval.
    """
    if path.exists() and "retrieval.tc_K" not in current_names(load_checkpoint(path)["model_state_dict"]):
        raise UserError(f"{path} holds a training, which would be lost; take another --name or --models-dir")


def main(config: RetrievalConfig) -> None:
    """Extract features of training and validation materials, fit, predict, write; the results are locked meanwhile."""
    set_up_log(None)
    tune_memory()
    splits = read_splits(config.data_dir, config.limit)
    require_free(config.path)
    content = checkpoint_of(config.checkpoint, config.data_dir, splits)
    with lock_folder(config.results_dir, "--results-dir or --name", config.name):
        add_retrieval(config, splits, content)


def add_retrieval(config: RetrievalConfig, splits: dict[str, pd.DataFrame], content: dict[str, Any]) -> None:
    """The same with the checkpoint's content, in a folder that this run holds."""
    prior = prior_for(content, config.prior, config.checkpoint, config.data_dir)
    device = place(config.device, "fp32").device
    model = load_model(config.checkpoint).to(device)
    model.retrieval = None  # it may have one already
    extra = extra_of_training(content, config.data_dir, splits, config.limit)
    seen = with_structures(splits["train"], extra), splits["val"]
    model.retrieval = fit(*(extract_features(config, model, materials, prior) for materials in seen))
    model.to(device)
    predicted, seconds_per_sample = predict(config, model, splits, prior)
    settings = content["config"] | {"name": config.name}
    save_checkpoint(
        config.path,
        {**content, "config": settings, "model_state_dict": model.state_dict()},
    )
    write_json(config.results_dir / f"{config.name}_config.json", settings)
    known = retrieval_metrics(content, model, seconds_per_sample)
    known |= {name: content["identity"][name] for name in FACTS if name in content["identity"]}
    known |= facts_of_structures(extra)
    metrics = metrics_of(config.name, splits, predicted, known)
    write_results(config.results_dir, config.name, predicted, metrics)
    further = predict_further(model, config, splits, prior, content.get("learned", ()))
    write_further(config.results_dir, config.name, further)
    log.info(f"{metrics['neighbours']}: validation MAE {metrics['val_mae_K']:.3f} K, test {metrics['mae_K']:.3f} K")


def prior_for(content: dict[str, Any], path: Path | None, checkpoint: Path, data_dir: Path) -> Prior | None:
    """The prior that a checkpoint was trained with, if it was with one.

    Raises:
        UserError: it is not given, is another one, or the network reads none.
    """
    digest = content["identity"].get("prior_sha256")
    if path is None and digest is None:
        return None
    if path is None or digest is None:
        raise UserError(f"{checkpoint} {'reads no prior; take away' if path else 'needs its prior; give'} --prior")
    prior = read_prior(path, data_dir)
    if prior.facts["prior_sha256"] != digest:
        raise UserError(f"{checkpoint} was trained with another prior than {path} (sha256 {digest[:12]})")
    return prior


def extract_features(
    config: RetrievalConfig, model: AlignnTc, materials: pd.DataFrame, prior: Prior | None = None
) -> FeatureSet:
    """Features and predictions of materials, with their measured Tc."""
    dataset = GraphDataset(materials, model.options, config.cache_dir, prior=prior)
    network_K, features = infer(model, dataset.graphs, config.batch_size, dataset.prior_K)
    return FeatureSet(features, network_K, dataset.tc_K)


def predict(
    config: RetrievalConfig, model: AlignnTc, splits: dict[str, pd.DataFrame], prior: Prior | None = None
) -> tuple[dict[str, pd.DataFrame], float]:
    """Predictions of validation and test materials, and the seconds that one of the latter took."""
    tables, seconds_per_sample = {}, 0.0
    for split in ("val", "test"):
        dataset = GraphDataset(splits[split], model.options, config.cache_dir, prior=prior)
        started = time.monotonic()
        kelvin = predict_all(model, dataset, config.batch_size)
        seconds_per_sample = (time.monotonic() - started) / len(kelvin)
        tables[split] = splits[split][["material_id", "formula", "tc"]].assign(tc_pred=kelvin)
    return tables, seconds_per_sample


if __name__ == "__main__":
    run(lambda: main(parse(RetrievalConfig, prog="python -m gat_pipeline.add_retrieval", description=__doc__ or "")))
