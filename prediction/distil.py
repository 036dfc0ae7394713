"""Teach the student: one small graph network that predicts what the ensemble predicts, in a fraction of its time.

    python -m prediction.distil --data-dir data/processed --work runs/distil --out models/3dsc

1. Copies of the training structures (chosen and other ones), strained, substituted by ionic neighbours, and doped;
   none of a composition of validation or test (`prediction/teaching.py`).
2. The shipped ensemble predicts them all (`prediction.screen`, which resumes): these predictions are the labels.
3. `gat_pipeline.train` trains the student on these labels; the measured Tc of validation chooses the epoch.
4. Student and card are written to `--out` only if its test MAE exceeds the ensemble's by at most 8 %.

Started again it does what is missing. Measured on 3DSC: docs/screening.md, Student.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gat_pipeline.graphs import GraphOptions
from gat_pipeline.model import architecture_metadata, load_model, write_weights
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.train import main as train
from gat_pipeline.zero_shot import distribution
from prediction.intervals import fit_intervals
from prediction.screen import ScreenConfig
from prediction.screen import main as screen
from prediction.teaching import away_from, copies_of
from tc_common.cli import log, parse, run, set_up_log
from tc_common.crystals import read_crystal
from tc_common.environment import git_commit, usable_cores
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_json, sha256, write_json
from tc_common.predictions import read_predictions, write_predictions
from tc_common.splits import SPLITS, read_other_structures, read_splits, splits_sha256, write_splits

NAME = "student"
MOST_ABOVE_TEACHER = 0.08
CRYSTALS = pa.schema([("name", pa.string()), ("structure", pa.string()), ("kind", pa.string())])


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """How the student is taught."""

    data_dir: Path = Path("data/processed")
    """Folder of the splits that the shipped ensemble was trained on (Tc in K)."""
    teacher_dir: Path = Path(__file__).resolve().parent.parent / "models/3dsc"
    """Folder of the shipped ensemble."""
    work: Path = Path("runs/distil")
    """Folder for crystals, labels and checkpoints."""
    out: Path = Path(__file__).resolve().parent.parent / "models/3dsc"
    """Folder that the student is written to."""
    copies: int = 2
    """Changed copies of each training structure (>= 0)."""
    epochs: int = 16
    """Passes over the crystals (>= 1)."""
    hidden: int = 96
    """Width of the network (>= 1)."""
    workers: int = usable_cores()
    """Processes that predict labels (>= 1)."""
    seed: int = 42
    """Seed of copies, weights and order (>= 0)."""
    limit: int | None = None
    """Use only N materials of each split (>= 1), to try it out."""

    def __post_init__(self) -> None:
        if min(self.copies, self.seed) < 0 or min(self.epochs, self.hidden, self.workers) < 1:
            raise ValueError("--copies and --seed must be at least 0, --epochs, --hidden and --workers at least 1")

    @property
    def training(self) -> GraphTrainConfig:
        """Settings of the student's training."""
        return GraphTrainConfig(
            data_dir=self.work / "data", models_dir=self.work / "models", results_dir=self.work / "results",
            cache_dir=self.work / "cache", name=NAME, init="random", epochs=self.epochs, batch_size=64, seed=self.seed,
            patience=self.epochs, lr_head=2e-3, schedule="onecycle", target="sqrt", structures="one",
            head_features="physics", hidden=self.hidden, alignn_layers=1, gcn_layers=2,
            graph=GraphOptions(angle_cutoff_A=2.6), device="cpu",
        )  # fmt: skip


def main(config: DistilConfig) -> None:
    """All four steps.

    Raises:
        UserError: data or ensemble cannot be used, or the student is too much worse than its teacher.
    """
    set_up_log(None)
    started_s = time.monotonic()
    splits = read_splits(config.data_dir, config.limit)
    crystals = config.work / "crystals.parquet"
    if not crystals.exists():
        write_crystals(config, splits, crystals)
    labels = ScreenConfig(
        inputs=(crystals,), out=config.work / "labels", models_dir=config.teacher_dir, workers=config.workers
    )
    screen(labels)
    write_training_data(config, splits, crystals)
    train(config.training)
    write_student(config, splits, round(time.monotonic() - started_s))


# ---- crystals and their labels -----------------------------------------------------------------------------------


def write_crystals(config: DistilConfig, splits: dict[str, pd.DataFrame], path: Path) -> None:
    """Write the training structures and their copies: `name, structure` (pymatgen JSON), `kind`."""
    others = read_other_structures(config.data_dir, splits)
    chosen = pd.concat([splits["train"], others[others["split"] == "train"]])
    held_out = [*splits["val"]["formula"], *splits["test"]["formula"]]
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, CRYSTALS, compression="zstd") as writer:
        for start in range(0, len(chosen), 512):
            rows = [*_copies(config, chosen.iloc[start : start + 512], start)]
            kept = away_from([structure for _, structure, _ in rows], held_out)
            texts = [
                (name, json.dumps(structure.as_dict(), default=float), kind)
                for (name, structure, kind), away in zip(rows, kept, strict=True)
                if away
            ]
            columns = [pa.array(column, pa.string()) for column in zip(*texts, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=CRYSTALS))
    log.info(f"{pq.read_metadata(path).num_rows} crystals in {path}")


def _copies(config: DistilConfig, materials: pd.DataFrame, first: int) -> Iterator[tuple[str, Any, str]]:
    for number, (material_id, cif) in enumerate(zip(materials["material_id"], materials["cif"], strict=True), first):
        structure, random = read_crystal(Path(cif)), np.random.default_rng((config.seed, number))
        structure.properties = {}
        yield str(material_id), structure, "original"
        for copy, (kind, changed) in enumerate(copies_of(structure, config.copies, random), start=1):
            changed.properties = {}
            yield f"{material_id}~{copy}", changed, kind


def write_training_data(config: DistilConfig, splits: dict[str, pd.DataFrame], crystals: Path) -> None:
    """Split files whose training set are the crystals with the ensemble's predictions as Tc."""
    data = config.work / "data"
    if (data / "train.csv").exists():
        return
    labels = pd.concat(
        pq.read_table(path, columns=["name", "formula", "tc_K", "error"]).to_pandas()
        for path in sorted((config.work / "labels/shards").glob("*.parquet"))
    )
    texts = pq.read_table(crystals, columns=["structure"])["structure"].to_pylist()
    folder = data / "crystals"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (label, text) in enumerate(zip(labels.itertuples(), texts, strict=True)):
        if isinstance(label.error, str):
            continue
        path = folder / f"{number:06d}.json"
        path.write_text(text, encoding="utf-8")
        rows.append((label.name, label.formula, label.tc_K, str(path.resolve())))
    train_rows = pd.DataFrame(rows, columns=["material_id", "formula", "tc", "cif"])
    train_rows = train_rows.assign(mp_id="", chemical_system="", family="", weight=1.0)
    log.info(f"{len(train_rows)} labels, {len(labels) - len(train_rows)} crystals that the ensemble refused")
    write_splits(data, {**splits, "train": train_rows})


# ---- the student's files -----------------------------------------------------------------------------------------


def write_student(config: DistilConfig, splits: dict[str, pd.DataFrame], seconds: int) -> None:
    """Write `student.safetensors`, its card and its validation predictions.

    Raises:
        UserError: its test MAE exceeds the ensemble's by more than 8 %: nothing is written.
    """
    results = config.work / "results"
    mae_K = float(read_json(results / f"{NAME}_metrics.json")["mae_K"])
    teacher = read_json(config.teacher_dir / "ensemble.json")
    teacher_mae_K = float(teacher["metrics"]["test"]["mae_K"])
    write_json(config.work / "student.json", {"mae_K": mae_K, "teacher_mae_K": teacher_mae_K, "seconds": seconds})
    log.info(f"test MAE {mae_K:.3f} K, the ensemble's {teacher_mae_K:.3f} K: {mae_K / teacher_mae_K - 1:+.1%}")
    if not mae_K <= (1 + MOST_ABOVE_TEACHER) * teacher_mae_K:
        raise UserError(
            f"the student's test MAE is {mae_K / teacher_mae_K - 1:.1%} above the ensemble's, more than "
            f"{MOST_ABOVE_TEACHER:.0%}; not written to {config.out}: teach it more (--copies, --epochs)"
        )
    val = read_predictions(results / f"{NAME}_val_predictions.csv")
    weights, predictions = config.out / f"{NAME}.safetensors", config.out / f"{NAME}_val_predictions.csv"
    model = load_model(config.work / "models/alignn_best.pth")
    write_weights(weights, model)
    write_predictions(predictions, val)
    files = {path.name: sha256(path) for path in (weights, predictions)}
    card = {
        "name": NAME, "networks": [weights.name], "files": files, "sha256": sha256(weights),
        **architecture_metadata(model), "training": distribution(splits["train"]), "origin": "random",
        "teacher": {"ensemble.json": sha256(config.teacher_dir / "ensemble.json"), "test_mae_K": teacher_mae_K},
        "taught_by": f"python -m prediction.distil --copies {config.copies} --epochs {config.epochs} --hidden "
        f"{config.hidden} --seed {config.seed}",
        "metrics": {"test": {"mae_K": mae_K, "n": len(splits["test"])}}, "train_seconds": seconds,
        "splits_sha256": splits_sha256({name: splits[name] for name in SPLITS}), "git_commit": git_commit(),
        "intervals": fit_intervals(val).plain(),
    }  # fmt: skip
    write_json(config.out / f"{NAME}.json", card)
    log.info(f"wrote {weights} and its card")


if __name__ == "__main__":
    run(lambda: main(parse(DistilConfig, prog="python -m prediction.distil", description=__doc__ or "")))
