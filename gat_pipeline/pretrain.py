"""Train the network on the JARVIS superconductors and write the weights that the project ships.

    python -m gat_pipeline.pretrain --source-dir DIR    # DIR holds train.csv and val.csv: material_id,tc,cif (text)

JARVIS-DFT Tc (Allen-Dynes formula, density functional theory; Choudhary & Garrity 2022,
doi 10.1038/s41524-022-00933-1) is the training data of the published jv_supercon_tc_alignn. Cost and result of the
shipped weights are in their card, `models/pretrained/alignn_jarvis_supercon.json`. JARVIS's test third is not used.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tyro.conf import Suppress

from gat_pipeline.allocator import tune_memory
from gat_pipeline.dataset import GraphDataset
from gat_pipeline.inference import predict_all
from gat_pipeline.model import AlignnTc, architecture_metadata, load_model, write_weights
from gat_pipeline.train import GraphTrainConfig, build_model, dataset_of, describe, task_of
from gat_pipeline.weights import SHIPPED
from gat_pipeline.zero_shot import distribution
from tc_common.checkpoints import Progress
from tc_common.cli import log, parse, run, set_up_log
from tc_common.crystals import CrystalError, parse_crystal
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import read_csv, sha256, write_json, write_text
from tc_common.runs import fit
from tc_common.splits import limited
from tc_common.structures import Structures
from tc_common.task import ScheduleKind

SOURCE = "JARVIS-DFT superconductors, Choudhary & Garrity 2022, doi 10.1038/s41524-022-00933-1"
CARD_SETTINGS = ("epochs", "batch_size", "schedule", "lr_head", "weight_decay", "loss", "target", "precision", "seed")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(GraphTrainConfig):
    """Settings of the pretraining; the network's sizes and graphs must stay those of the fine-tuning."""

    source_dir: Path = Path("data/raw/jarvis_supercon")
    """Folder with train.csv and val.csv, columns material_id, tc (K) and cif (text)."""
    output: Path = SHIPPED
    """The weights to write (.safetensors), and their card (.json, same name)."""
    models_dir: Path = Path("runs/pretrain")
    """Folder for checkpoints and unpacked crystals."""
    results_dir: Path = Path("runs/pretrain")
    """Folder for settings and history."""
    structures: Structures = "one"
    """JARVIS has a Tc of its own for every structure, so there is nothing to draw from: one."""
    init: str = "random"
    """Where the first weights come from."""
    epochs: int = 30
    """Passes over the training set (>= 1)."""
    batch_size: int = 16
    """Crystals computed at once (>= 2)."""
    schedule: ScheduleKind = "onecycle"
    """How the learning rate changes."""
    patience: int = 1000
    """Epochs without a better validation MAE before training stops (>= 1); one cycle should finish."""
    further: Suppress[bool] = False
    extra_structures: Suppress[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structures != "one":
            raise ValueError(f"--structures {self.structures}: the JARVIS tables have one structure a material")
        if self.prior or self.extra_labels:
            raise ValueError(
                "--prior and --extra-labels belong to other materials than those of JARVIS; take them away"
            )
        if self.output.suffix != ".safetensors":
            raise ValueError(f"--output must end in .safetensors, got {self.output}")


def main(config: PretrainConfig) -> None:
    """Train, write the best weights, read them back and state the written file's validation error."""
    set_up_log(config.log_file)
    tune_memory()
    splits = {name: read_materials(config, name) for name in ("train", "val")}
    model = build_model(config, None, splits["train"])
    sets = {name: dataset_of(config, name, table) for name, table in splits.items()}
    log.info(describe(config, model, sets))
    task = task_of(config, model, None, splits, sets)
    task.stem = "alignn_jarvis"
    task.name = config.name or task.stem
    progress = fit(task, config)
    write_weights(config.output, model)
    write_card(config, model, splits, sets["val"], progress)


def read_materials(config: PretrainConfig, split: str) -> pd.DataFrame:
    """One JARVIS table as a split table; CIF texts become files, refused crystals are logged."""
    table = read_csv(config.source_dir / f"{split}.csv", ("material_id", "tc", "cif"), "the JARVIS download")
    rows = [_unpack(row.material_id, float(row.tc), row.cif, config.models_dir / "cifs") for row in table.itertuples()]
    kept = pd.DataFrame([row for row in rows if row is not None])
    if kept.empty:
        raise UserError(f"{config.source_dir / split}.csv holds no usable crystal")
    return kept.sort_values("material_id", ignore_index=True).pipe(limited, config.limit)


def _unpack(material_id: str, tc_K: float, cif: str, folder: Path) -> dict[str, Any] | None:
    if not re.fullmatch(r"[\w-]+", material_id) or not np.isfinite(tc_K) or tc_K < 0:
        raise UserError(
            f"material {material_id!r} with Tc {tc_K}: an id of letters and digits and a Tc >= 0 K are needed"
        )
    path = folder / f"{material_id}.cif"
    try:
        formula = parse_crystal(cif).composition.reduced_formula
    except CrystalError as error:
        log.info(f"left out {material_id}: {error}")
        return None
    if not path.exists() or path.read_text(encoding="utf-8") != cif:
        write_text(path, cif)
    return {"material_id": material_id, "formula": formula, "tc": tc_K, "cif": str(path)}


def write_card(
    config: PretrainConfig,
    model: AlignnTc,
    splits: dict[str, pd.DataFrame],
    val: GraphDataset,
    progress: Progress,
) -> None:
    """The written weights' card, with the validation error of the file as written."""
    card = {
        "name": config.output.stem,
        "sha256": sha256(config.output),
        "data": SOURCE,
        "command": "python -m gat_pipeline.pretrain --source-dir DIR",
        "settings": {name: getattr(config, name) for name in CARD_SETTINGS},
        **architecture_metadata(model),
        "training": distribution(splits["train"]),
        "n_val": len(splits["val"]),
        "epochs_run": len(progress.history),
        "train_seconds": round(progress.train_seconds, 1),
        "git_commit": git_commit(),
    }
    write_json(config.output.with_suffix(".json"), card)
    predicted_K = predict_all(load_model(config.output), val, config.batch_size)
    tc_K, median_K = splits["val"]["tc"].to_numpy(), float(splits["train"]["tc"].median())
    errors = {
        "val_mae_K": float(np.abs(predicted_K - tc_K).mean()),
        "val_mae_of_training_median_K": float(np.abs(median_K - tc_K).mean()),
        "val_note": "the best epoch was chosen on these validation materials",
    }
    write_json(config.output.with_suffix(".json"), {**card, **errors})
    log.info(f"{config.output}: validation MAE {errors['val_mae_K']:.3f} K, "
             f"of the training median {errors['val_mae_of_training_median_K']:.3f} K")  # fmt: skip


if __name__ == "__main__":
    run(lambda: main(parse(PretrainConfig, prog="python -m gat_pipeline.pretrain", description=__doc__ or "")))
