"""Add k-nearest-neighbour retrieval of training materials to a trained vision network.

    python -m dinov3_pipeline.add_retrieval                 # models/dino_best.pth -> models/dinov3_neighbours_best.pth

Nothing is trained: what the head reads of the training materials (mean over the views) is stored, and two numbers
(kernel bandwidth and mixing weight) are chosen on the views of the validation materials. Writes
`<models-dir>/<name>_best.pth`, a checkpoint like any other, and into `<results-dir>` predictions, metrics and settings
as a trainer does, in float32.

Legend: n materials, V views of one, W width of the head's input.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dinov3_pipeline.dataset import ViewDataset, collate
from dinov3_pipeline.images import ImageSource, RenderedImages, StoredImages
from dinov3_pipeline.model import DinoTcModel, load_model
from dinov3_pipeline.palette import inputs_of
from tc_common.checkpoints import checkpoint_of, load_checkpoint, save_checkpoint
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import place, to_device
from tc_common.errors import UserError
from tc_common.extra_structures import facts_of_structures, with_structures
from tc_common.files import write_json
from tc_common.further import further_materials
from tc_common.lock import lock_folder
from tc_common.predictions import MODEL_NAME_RULE, average_samples, is_model_name
from tc_common.results import metrics_of, write_further, write_results
from tc_common.retrieval import FeatureSet, fit, retrieval_metrics
from tc_common.splits import SPLITS, read_splits
from tc_common.structures import extra_of_training


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Settings."""

    checkpoint: Path = Path("models/dino_best.pth")
    """The trained network."""
    init: str | None = None
    """File with the frozen backbone's weights, if it was moved after training."""
    data_dir: Path = Path("data/processed")
    """Folder with the train.csv, val.csv and test.csv it was trained with (Tc in K)."""
    images_dir: Path = Path("data/images")
    """Folder with the rendered images it was trained with."""
    models_dir: Path = Path("models")
    """Folder for the network with retrieval."""
    results_dir: Path = Path("results")
    """Folder for predictions, metrics and settings."""
    name: str = "dinov3_neighbours"
    """Name of the model: beginning of its files' names."""
    cache_dir: Path = Path("data/cache")
    """Folder for decoded images."""
    batch_size: int = 64
    """Images computed at once (>= 1)."""
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


@dataclass(frozen=True, eq=False)
class Views:
    """What the network makes of every view of n materials."""

    rows: pd.DataFrame
    """Columns `material_id, tc, tc_pred` (K), one row a view."""
    inputs: Tensor
    """(n V, W), what the head reads."""

    def per_view(self) -> FeatureSet:
        """Every view as a material of its own."""
        return FeatureSet(self.inputs, self.rows["tc_pred"].to_numpy(), self.rows["tc"].to_numpy())

    def per_material(self) -> FeatureSet:
        """Means over the views of each of n materials."""
        views = len(self.rows) // self.rows["material_id"].nunique()
        predicted_K, tc_K = self.rows[["tc_pred", "tc"]].to_numpy().reshape(-1, views, 2).mean(1).T
        return FeatureSet(self.inputs.unflatten(0, (-1, views)).mean(1), predicted_K, tc_K)


def main(config: RetrievalConfig) -> None:
    """Read the views of training and validation materials, fit, predict, write; the results are locked meanwhile."""
    set_up_log(None)
    splits = read_splits(config.data_dir, config.limit)
    _require_free(config.path)
    content = checkpoint_of(config.checkpoint, config.data_dir, splits)
    with lock_folder(config.results_dir, "--results-dir or --name", config.name):
        add_retrieval(config, splits, content)


def add_retrieval(config: RetrievalConfig, splits: dict[str, pd.DataFrame], content: dict[str, Any]) -> None:
    """The same with the checkpoint's content, in a folder that this run holds."""
    model = load_model(config.checkpoint, config.init).to(place(config.device, "fp32").device)
    model.retrieval = None  # it may have one already
    extra = extra_of_training(content, config.data_dir, splits, config.limit)
    tables = {**splits, "train": with_structures(splits["train"], extra)}
    images = {name: stored(config, model, tables[name]) for name in SPLITS}
    seen = {name: look(config, model, tables[name], images[name]) for name in ("train", "val")}
    model.retrieval = fit(seen["train"].per_material(), seen["val"].per_view()).to(model.mean.device)
    predicted, seconds_per_sample = predict(config, model, splits, images)
    settings = content["config"] | {"name": config.name}
    save_checkpoint(config.path, {**content, "config": settings, "model_state_dict": _state(content, model)})
    write_json(config.results_dir / f"{config.name}_config.json", settings)
    known = retrieval_metrics(content, model, seconds_per_sample) | facts_of_structures(extra)
    metrics = metrics_of(config.name, splits, predicted, known)
    write_results(config.results_dir, config.name, predicted, metrics)
    further = _predict_further(config, model, splits, content.get("learned", ()))
    write_further(config.results_dir, config.name, further)
    log.info(f"{metrics['neighbours']}: validation MAE {metrics['val_mae_K']:.3f} K, test {metrics['mae_K']:.3f} K")


def _require_free(path: Path) -> None:
    if path.exists() and "retrieval.tc_K" not in load_checkpoint(path)["model_state_dict"]:
        raise UserError(f"{path} holds a training, which would be lost; take another --name or --models-dir")


def stored(config: RetrievalConfig, model: DinoTcModel, materials: pd.DataFrame) -> StoredImages:
    """Images of these materials.

    Raises:
        UserError: they were rendered otherwise than those that the network was trained on.
    """
    ids = materials["material_id"].tolist()
    images = StoredImages(config.images_dir, ids, model.image_size, config.cache_dir)
    if images.options != model.render_options:
        raise UserError(f"{config.images_dir} was rendered otherwise than the images of {config.checkpoint}")
    return images


@torch.inference_mode()
def look(config: RetrievalConfig, model: DinoTcModel, materials: pd.DataFrame, images: ImageSource) -> Views:
    """Read every standard view of these materials, in their order."""
    dataset = ViewDataset(materials, images, inputs=inputs_of(materials, images, model.reads))
    rows, parts = [], []
    for batch in DataLoader(dataset, config.batch_size, collate_fn=collate):
        inputs = model.head_inputs(to_device(batch, model.mean.device))
        columns = {"tc": batch["tc"].double(), "tc_pred": model.forward_head(inputs).double().cpu()}
        rows.append(pd.DataFrame({"material_id": batch["material_id"], **columns}))
        parts.append(inputs.cpu())
    return Views(pd.concat(rows, ignore_index=True), torch.cat(parts))


def predict(
    config: RetrievalConfig,
    model: DinoTcModel,
    splits: Mapping[str, pd.DataFrame],
    images: Mapping[str, ImageSource],
) -> tuple[dict[str, pd.DataFrame], float]:
    """Predictions of validation and test materials, and the seconds that one of the latter took."""
    tables, seconds_per_sample = {}, 0.0
    for split in ("val", "test"):
        started = time.monotonic()
        averaged = average_samples(look(config, model, splits[split], images[split]).rows)
        seconds_per_sample = (time.monotonic() - started) / len(averaged)
        measured = splits[split][["material_id", "formula", "tc"]]
        tables[split] = measured.merge(averaged.drop(columns="tc"), on="material_id", validate="1:1")
    return tables, seconds_per_sample


def _predict_further(
    config: RetrievalConfig, model: DinoTcModel, splits: dict[str, pd.DataFrame], learned: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Predictions of the further tests, whose images are rendered in memory."""
    predicted = {}
    for test, table in further_materials(config.data_dir, splits, config.limit, None, learned).items():
        images = RenderedImages(table, model.image_size, model.render_options)
        averaged = average_samples(look(config, model, table, images).rows).drop(columns="tc")
        predicted[test] = table.drop(columns="cif").merge(averaged, on="material_id", validate="1:1")
    return predicted


def _state(content: Mapping[str, Any], model: DinoTcModel) -> dict[str, Any]:
    """The network's state with its retrieval, without the frozen weights that the checkpoint only names."""
    frozen = set(content.get("frozen", {}).get("names", []))
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


if __name__ == "__main__":
    run(
        lambda: main(parse(RetrievalConfig, prog="python -m dinov3_pipeline.add_retrieval", description=__doc__ or ""))
    )
