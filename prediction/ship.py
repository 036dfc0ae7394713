"""Ship the models of a study: weights, trees, cards with intervals, what is known, and the folder's README.

    python -m prediction.ship --results-dir results/3dsc/stratified --data-dir data/processed \\
        --alignn models/alignn_best.pth --out models/3dsc

Reads the trained networks, the study's predictions, metrics and comparison; fits the trees that its ensemble weights
again; writes networks with their matrices in half precision and trees as arrays, reads all back, predicts every
material with predict.py's own code path, and states in the cards the difference from the study's predictions, and how
well intervals and cautions do. The folder changes only when all files could be made.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinov3_pipeline.model import write_shipped
from dinov3_pipeline.train import VisionConfig
from gat_pipeline.allocator import tune_memory
from gat_pipeline.model import architecture_metadata, load_model, write_weights
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.zero_shot import distribution
from prediction.card import NAMES, card_of, quality_of, readme, split_metadata
from prediction.load import (
    KNOWN,
    PRIOR,
    SHARED,
    TRAINING,
    TRAINING_COLUMNS,
    TREES,
    VECTORS,
    load_base_model,
    weights_of,
)
from prediction.models import Output, combine, predict_materials
from prediction.novelty import training_tensors
from prediction.ship_ensemble import Shipped, ensemble_metadata, ship_ensemble
from prediction.ship_trees import find_labels, ship_trees, shipped_known
from prediction.study import Study, command, read_study
from tc_common.checkpoints import load_checkpoint
from tc_common.cli import log, parse, run, set_up_log
from tc_common.errors import UserError
from tc_common.files import sha256, sync, write_csv, write_json, write_text
from tc_common.model_files import read_card, write_tensors
from tc_common.predictions import write_predictions
from tc_common.splits import read_splits


@dataclass(frozen=True, kw_only=True)
class ShipConfig:
    """Models to ship, and the study they come from."""

    results_dir: Path = Path("results/3dsc/stratified")
    """The study: metrics, settings, predictions (K) and comparison.json."""
    data_dir: Path = Path("data/processed")
    """Folder with the study's train.csv, val.csv and test.csv (Tc in K)."""
    alignn: tuple[Path, ...] = (Path("models/alignn_best.pth"),)
    """Checkpoint of the graph network, or those of all trainings whose mean is the study's."""
    alignn_name: str = "alignn"
    """Its name in the study, such as alignn_neighbours; it is shipped as alignn."""
    dinov3: Path | None = None
    """Checkpoint of the vision network, trained with --init random or crystals; none is shipped without it."""
    dinov3_name: str = "dinov3"
    """Its name in the study, such as dinov3_composition_neighbours; it is shipped as dinov3."""
    extra_labels: Path | None = None
    """The study's extra labels, if a weighted model has them (default: extra_labels.csv in --data-dir)."""
    trees: int = 100
    """Write no more than so many of the published trees, whose recipe grows 500 (>= 1)."""
    grouped: Path | None = None
    """A study with chemical systems held out (seed_*/<model>_predictions.csv, K), for the cards."""
    out: Path = Path("models/3dsc")
    """Folder of the shipped files; older ones there are replaced."""
    hub_folder: Path | None = None
    """Also write the files with front matter for a model hub to this folder; nothing is uploaded."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    limit: int | None = None
    """The models were trained with this --limit (materials per split, >= 1)."""

    def __post_init__(self) -> None:
        if not self.alignn:
            raise ValueError("--alignn must name at least one checkpoint")
        if self.trees < 1:
            raise ValueError(f"--trees must be at least 1, got {self.trees}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {self.limit}")


def main(config: ShipConfig) -> None:
    """Make all files in a temporary folder next to `--out`, then rename them into it."""
    set_up_log(None)
    tune_memory()
    splits = read_splits(config.data_dir, config.limit)
    study = read_study(config.results_dir, splits, {"alignn": config.alignn_name, "dinov3": config.dinov3_name})
    common = {**split_metadata(config.data_dir, study), "n_train": len(splits["train"])}
    ensemble = ensemble_metadata(study) if (config.results_dir / "ensemble_metrics.json").is_file() else None
    weights = weights_of(ensemble) if ensemble else {}
    require_trainings(config.alignn, study.metrics("alignn").get("seeds"))
    require_vision(config, weights)
    with replaced(config.out) as folder:
        write_csv(folder / TRAINING, splits["train"][list(TRAINING_COLUMNS)])
        write_csv(folder / KNOWN, shipped_known(splits, config.extra_labels, config.data_dir))
        trees = ship_all_trees(config, folder, study, weights)
        done: Shipped = {"alignn": ship_alignn(config, folder, study, common)}
        if config.dinov3 is not None:
            done["dinov3"] = ship_dinov3(config, config.dinov3, folder, study, common)
        if ensemble is not None:
            ship_ensemble(folder, study, {**common, **ensemble, "trees": trees}, done, config.device, config.grouped)
        cards = [read_card(folder / f"{name}.json") for name in NAMES if (folder / f"{name}.json").is_file()]
        write_text(folder / "README.md", readme(cards))
    log.info(f"wrote {', '.join(sorted(path.name for path in config.out.iterdir()))} to {config.out}")
    if config.hub_folder:
        from prediction.hub import write_hub_folder

        write_hub_folder(config.out, config.hub_folder)
        log.info(f"wrote the same with front matter to {config.hub_folder}")


def ship_all_trees(
    config: ShipConfig, folder: Path, study: Study, weights: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """Write the trees that the ensemble weights, and those whose prediction a network reads; what the card says."""
    names = sorted({*weights} & {*TREES} | {*prior_metadata(config).values()})
    labels = find_labels(config.extra_labels, config.data_dir) if names else None
    made = {}
    for name in names:
        path = folder / f"{name}.safetensors"
        made[name] = ship_trees(path, name, study, labels, config.trees)
        log.info(f"{name}: {made[name]}, {path.stat().st_size / 1e6:.1f} MB")
    return made


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """An empty folder on the same disk, whose files replace all those of `out` at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir() and not (out / TRAINING).is_file() and any(out.iterdir()):
        raise UserError(f"--out {out} holds files that are no shipped models; name a new folder")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        yield Path(made)
        out.mkdir(exist_ok=True)
        new = sorted(Path(made).iterdir())
        for file in new:
            file.replace(out / file.name)
        for stale in set(out.iterdir()) - {out / file.name for file in new}:
            stale.unlink()
        sync(out)


def ship_alignn(config: ShipConfig, folder: Path, study: Study, common: dict[str, Any]) -> dict[str, Output]:
    """Write weights, card, validation predictions and training vectors; returns predictions of val and test."""
    train = study.splits["train"]
    learned_from = distribution(train)
    networks = [write_network(folder, *each, learned_from) for each in enumerate(config.alignn, 1)]
    metadata = read_card(networks[0]) | prior_metadata(config)
    write_json(folder / "alignn.json", {**metadata, "networks": [path.name for path in networks]})
    model = load_base_model(folder, "alignn", {}, config.device)
    predictions = {split: predict_materials(model, table) for split, table in study.splits.items()}
    vectors = predictions.pop("train").vectors
    assert vectors is not None, "the graph network gives vectors"
    write_tensors(folder / VECTORS, training_tensors(train["formula"].tolist(), vectors))
    settings = study.settings("alignn")
    origin = {"settings": settings, "command": command("python -m gat_pipeline.train", settings, GraphTrainConfig())}
    write_model(config, folder, "alignn", study, predictions, {**common, **metadata, **origin}, networks)
    return predictions


def prior_metadata(config: ShipConfig) -> dict[str, str]:
    """The trees whose prediction the graph network reads, if it reads one."""
    return {"prior": PRIOR} if load_checkpoint(config.alignn[0])["config"].get("prior") else {}


def require_trainings(checkpoints: Sequence[Path], seeds: list[int] | None) -> None:
    """Check that the checkpoints are the study's.

    Raises:
        UserError: fewer or more than the study averaged, or of other seeds.
    """
    ours = [load_checkpoint(path)["config"].get("seed") for path in checkpoints]
    if len(ours) != (1 if seeds is None else len(seeds)) or (seeds is not None and sorted(ours) != sorted(seeds)):
        wanted = "one training" if seeds is None else f"trainings of the seeds {', '.join(map(str, seeds))}"
        raise UserError(f"the study's ALIGNN is made of {wanted}, --alignn names those of {', '.join(map(str, ours))}")


def require_vision(config: ShipConfig, weights: dict[str, float]) -> None:
    """Check that the vision network is shipped where the ensemble weights it.

    Raises:
        UserError: it is not.
    """
    if weights.get("dinov3") and config.dinov3 is None:
        raise UserError(
            f"the ensemble gives dinov3 a weight of {weights['dinov3']:.3f}; name its checkpoint: --dinov3"
        )


def write_network(folder: Path, number: int, checkpoint: Path, learned_from: dict[str, Any]) -> Path:
    """Write the weights of one training, with a card of the metadata that loading needs."""
    path = folder / ("alignn.safetensors" if number == 1 else f"alignn_{number}.safetensors")
    model = load_model(checkpoint)
    write_weights(path, model)
    write_json(path.with_suffix(".json"), {**architecture_metadata(model), "training": learned_from})
    return path


def ship_dinov3(
    config: ShipConfig, checkpoint: Path, folder: Path, study: Study, common: dict[str, Any]
) -> dict[str, Output]:
    """Write weights, card and validation predictions; returns predictions of val and test."""
    path = folder / "dinov3.safetensors"
    metadata = write_shipped(checkpoint, path)
    write_json(path.with_suffix(".json"), {**metadata, "sha256": sha256(path)})
    model = load_base_model(folder, "dinov3", metadata, config.device)
    predictions = {split: predict_materials(model, study.splits[split]) for split in ("val", "test")}
    settings = study.settings("dinov3")
    origin = {"settings": settings, "command": command("python -m dinov3_pipeline.train", settings, VisionConfig())}
    write_model(config, folder, "dinov3", study, predictions, {**common, **metadata, **origin}, [path])
    return predictions


def write_model(
    config: ShipConfig,
    folder: Path,
    name: str,
    study: Study,
    predictions: dict[str, Output],
    metadata: dict[str, Any],
    networks: list[Path],
) -> None:
    """Write the validation predictions of the shipped networks, and the whole card."""
    tables = {split: study.with_materials(split, combine([made])) for split, made in predictions.items()}
    validation = folder / f"{name}_val_predictions.csv"
    write_predictions(validation, tables["val"])
    cards = [path.with_suffix(".json") for path in networks[1:]]
    prior = [folder / f"{metadata['prior']}.safetensors"] if "prior" in metadata else []
    files = [*networks, *cards, *prior, validation, *(folder / file for file in SHARED)]
    metadata = {"sha256": sha256(networks[0]), **metadata, **quality_of(study, name, tables, config.grouped)}
    write_json(folder / f"{name}.json", card_of(study, name, [path.name for path in networks], files, metadata))
    log.info(f"{name}: {metadata['file_against_study']}")


if __name__ == "__main__":
    run(lambda: main(parse(ShipConfig, prog="python -m prediction.ship", description=__doc__ or "")))
