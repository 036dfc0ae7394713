"""The student: its crystals with the ensemble's predictions as labels, its training's settings, its shipped files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gat_pipeline.graphs import GraphOptions
from gat_pipeline.model import architecture_metadata, load_network, write_weights
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.zero_shot import distribution
from prediction.intervals import fit_intervals
from prediction.screening.first_stage import trees_name
from prediction.teaching import away_from, copies_of
from prediction.trees import read_trees
from tc_common.cli import log
from tc_common.crystals import read_crystal
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_json, sha256, write_csv, write_json
from tc_common.further import further_materials
from tc_common.predictions import read_predictions, write_predictions
from tc_common.prior import PRIOR_FILE
from tc_common.splits import SPLITS, read_other_structures, read_splits, splits_sha256, write_splits

if TYPE_CHECKING:
    from prediction.distil import DistilConfig

NAME = "student"
MOST_ABOVE_TEACHER = 0.08
CRYSTALS = pa.schema([("name", pa.string()), ("structure", pa.string()), ("kind", pa.string())])


def training_of(config: "DistilConfig") -> GraphTrainConfig:
    """Settings of the student's training."""
    return GraphTrainConfig(
        data_dir=config.work / "data", models_dir=config.work / "models", results_dir=config.work / "results",
        cache_dir=config.work / "cache", name=NAME, init="random", epochs=config.epochs, batch_size=64,
        seed=config.seed, patience=config.epochs, lr_head=2e-3, schedule="onecycle", target="sqrt", structures="one",
        head_features="physics", hidden=config.hidden, alignn_layers=1, gcn_layers=2,
        graph=GraphOptions(angle_cutoff_A=2.6), prior=prior_file(config) if config.prior else None, device="cpu",
    )  # fmt: skip


# ---- crystals and their labels -----------------------------------------------------------------------------------


def write_crystals(config: "DistilConfig", splits: dict[str, pd.DataFrame], path: Path) -> None:
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


def _copies(config: "DistilConfig", materials: pd.DataFrame, first: int) -> Iterator[tuple[str, Any, str]]:
    for number, (material_id, cif) in enumerate(zip(materials["material_id"], materials["cif"], strict=True), first):
        structure, random = read_crystal(Path(cif)), np.random.default_rng((config.seed, number))
        structure.properties = {}
        yield str(material_id), structure, "original"
        for copy, (kind, changed) in enumerate(copies_of(structure, config.copies, random), start=1):
            changed.properties = {}
            yield f"{material_id}~{copy}", changed, kind


def write_training_data(config: "DistilConfig", splits: dict[str, pd.DataFrame], crystals: Path) -> None:
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


def prior_file(config: "DistilConfig") -> Path:
    """Where the trees' predictions of all materials are."""
    return config.work / "data" / PRIOR_FILE


def write_prior(config: "DistilConfig") -> None:
    """Write what the shipped trees predict for every material, in the form of `baselines.prior`.

    Unlike there, the trees have seen the training compositions: so have those in the labels, and the student must
    learn the difference.
    """
    data, trees = config.work / "data", read_trees(trees_file(config))
    splits = read_splits(data)
    tables = [*splits.values(), *further_materials(data, splits).values()]
    table = pd.concat([each[["material_id", "formula"]] for each in tables]).drop_duplicates("material_id")
    prior_K = trees.predict_formulas(table["formula"].tolist())[0].clip(min=0.0)
    write_csv(prior_file(config), table.assign(prior_K=prior_K, learned=False))
    report = {"prior_sha256": sha256(prior_file(config)), "splits_sha256": splits_sha256(splits), "prior_folds": 0}
    write_json(prior_file(config).with_suffix(".json"), report)


def trees_file(config: "DistilConfig") -> Path:
    """The shipped trees that the student corrects."""
    return config.teacher_dir / f"{trees_name(config.teacher_dir)}.safetensors"


# ---- the student's files -----------------------------------------------------------------------------------------


def write_student(config: "DistilConfig", splits: dict[str, pd.DataFrame], seconds: int) -> None:
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
    model = load_network(config.work / "models/alignn_best.pth")
    write_weights(weights, model)
    write_predictions(predictions, val)
    trees = [trees_file(config)] if config.prior else []
    files = {path.name: sha256(path) for path in (weights, predictions, *trees)}
    card = {
        "name": NAME, "networks": [weights.name], "files": files, "sha256": sha256(weights),
        **architecture_metadata(model), "training": distribution(splits["train"]), "origin": "random",
        "teacher": {"ensemble.json": sha256(config.teacher_dir / "ensemble.json"), "test_mae_K": teacher_mae_K},
        "taught_by": f"python -m prediction.distil --copies {config.copies} --epochs {config.epochs} --hidden "
        f"{config.hidden} --seed {config.seed}",
        "metrics": {"test": {"mae_K": mae_K, "n": len(splits["test"])}}, "train_seconds": seconds,
        "splits_sha256": splits_sha256({name: splits[name] for name in SPLITS}), "git_commit": git_commit(),
        "intervals": fit_intervals(val).plain(), "prior": trees[0].stem if trees else None,
    }  # fmt: skip
    write_json(config.out / f"{NAME}.json", card)
    log.info(f"wrote {weights} and its card")
