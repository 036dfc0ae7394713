"""The pair's Tc of every material of a set of split files, as an input of a network (`--prior` of gat_pipeline.train).

    python -m baselines.prior --data-dir data/processed --out data/processed/prior.csv
    python -m baselines.prior --extra-labels data/processed/extra_labels.csv

Training materials are predicted out of fold, so that a network sees priors as uncertain as those of new materials:
folds hold out whole chemical systems where the splits do, single compositions otherwise (`--folds`). Validation, test
and literature are predicted by the pair fitted on all training materials, other structures as their composition.
Writes a CSV `material_id,formula,prior_K,learned` (K; `learned`: the pair was fitted on that composition) and a report
of the same name (.json). Six fits of the pair.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd

from baselines.pair import KIND, FoldKind, fit_pair, out_of_fold
from tc_common.chemistry import composition_features
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.files import sha256, write_csv, write_json
from tc_common.further import LITERATURE, further_materials
from tc_common.labels import ExtraLabels, read_extra_labels, with_labels
from tc_common.prior import PRIOR_COLUMNS, PRIOR_FILE
from tc_common.splits import OTHER_STRUCTURES, read_other_structures, read_splits, split_kind, splits_sha256

Splits: TypeAlias = dict[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Settings."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    extra_labels: Path | None = None
    """Labels of `python -m data.supercon` for these split files: the pair learns from them too."""
    out: Path = Path("data/processed") / PRIOR_FILE
    """The CSV to write; its report has the same name (.json)."""
    folds: Literal["auto", "grouped", "random"] = "auto"
    """What a fold holds out: chemical systems (grouped) or compositions (random); auto: as the splits themselves."""
    seed: int = 42
    """Seed of folds and trees (>= 0)."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.out.suffix != ".csv":
            raise ValueError(f"--out must end in .csv, got {self.out}")


def main(config: PriorConfig) -> None:
    """Read, fit, write, print how large the priors' errors are."""
    splits = read_splits(config.data_dir)
    labels = None if config.extra_labels is None else read_extra_labels(config.extra_labels, config.data_dir)
    refuse_inputs(config)
    kind = fold_kind(config, splits)
    table = priors(config.data_dir, splits, labels, kind, config.seed)
    write_csv(config.out, table)
    report = {
        "prior_sha256": sha256(config.out),
        "splits_sha256": splits_sha256(splits),
        "prior_folds": kind,
        "seed": config.seed,
        **({} if labels is None else labels.metadata()),
        "mae_K": {name: prior_mae_K(table, splits[name]) for name in ("train", "val")},
    }
    write_json(config.out.with_suffix(".json"), report)
    print(f"wrote {len(table)} priors to {config.out}; {kind} folds; MAE (K): " + str(report["mae_K"]))


def refuse_inputs(config: PriorConfig) -> None:
    """Never write over what is read.

    Raises:
        UserError: `--out` is one of the inputs.
    """
    names = ("train.csv", "val.csv", "test.csv", OTHER_STRUCTURES, "report.csv")
    inputs = [config.data_dir / name for name in names] + [config.extra_labels or config.data_dir]
    if config.out.resolve() in {path.resolve() for path in inputs}:
        raise UserError(f"--out {config.out} would be written over; give another name")


def fold_kind(config: PriorConfig, splits: Splits) -> FoldKind:
    """What the folds hold out; asked of the split files' report where no flag says it."""
    if config.folds != "auto":
        return config.folds
    return "random" if split_kind(config.data_dir, splits) == "stratified" else "grouped"


def priors(data_dir: Path, splits: Splits, labels: ExtraLabels | None, kind: FoldKind, seed: int) -> pd.DataFrame:
    """`material_id`, `formula`, `prior_K`, `learned` of every material that a network of these splits may be given."""
    train = splits["train"]
    learned_from = with_labels(train, labels)
    predict = fit_pair(features(learned_from), learned_from["tc"].to_numpy(float), seed)["pair"]
    further = further_materials(data_dir, splits, None, labels)
    unseen = [splits["val"], splits["test"], *further.values()]
    held_out = pd.concat(unseen, ignore_index=True)
    own = train.assign(prior_K=out_of_fold(train, seed, labels, kind=kind))
    tables = [own, held_out.assign(prior_K=predict(features(held_out))[0]), others_of(data_dir, splits, own)]
    literature = further.get(LITERATURE, pd.DataFrame(columns=["material_id", "known"]))
    known = set(literature.loc[literature["known"].astype(bool), "material_id"])
    every = pd.concat([table[["material_id", "formula", "prior_K"]] for table in tables], ignore_index=True)
    return every.assign(learned=every["material_id"].isin(known))[list(PRIOR_COLUMNS)]


def others_of(data_dir: Path, splits: Splits, own: pd.DataFrame) -> pd.DataFrame:
    """Other structures of the training compositions, with the prior of their chosen structure."""
    if not (data_dir / OTHER_STRUCTURES).exists():
        return own.iloc[:0]
    others = read_other_structures(data_dir, splits)
    others = others[others["split"] == "train"]
    return others.assign(prior_K=others["chosen"].map(own.set_index("material_id")["prior_K"]))


def prior_mae_K(table: pd.DataFrame, materials: pd.DataFrame) -> float:
    """Mean absolute error (K) of the priors of these materials."""
    prior_K = table.set_index("material_id")["prior_K"].loc[materials["material_id"]].to_numpy(float)
    return float(abs(prior_K - materials["tc"].to_numpy(float)).mean())


def features(table: pd.DataFrame) -> Any:
    """The pair's features (n, F) of a table's formulas."""
    return composition_features(table["formula"].tolist(), KIND)


if __name__ == "__main__":
    run(lambda: main(parse(PriorConfig, prog="python -m baselines.prior", description=__doc__ or "")))
