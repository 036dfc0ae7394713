"""Tables over ten (systems held out) and five (random) splits of 3DSC: trees as published, the pair, labels.

    python -m benchmarks.labels_and_features --materials runs/3dsc
    python -m benchmarks.labels_tables --materials runs/3dsc

Reads the test predictions that the first command keeps in `--work` and writes, for each kind of split, a comparison
over runs as `compare_models.py runs` does (`comparison.{json,md}`, `runs.csv`) and the predictions that it is made of,
so that `python -m comparison.published.check` can make it again. `composition` are the published trees;
`pair_with_labels` and `pair_with_labels_5` have the labels farther than 1 % and 5 % from held-out compositions.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.composition_3dsc import publish
from benchmarks.labels_and_features import PUBLISHED, SEEDS, divided, is_complete, predictions_in
from comparison.repeats import Run, score_runs, summarise, write_kept_runs
from comparison.report.documents import terminal
from comparison.report.write import write_runs
from data.splitting import Split
from tc_common.cli import parse, run
from tc_common.composition import composition_key, fractions, parse_formula
from tc_common.errors import UserError
from tc_common.files import read_csv
from tc_common.metrics import score

# Name in the tables, and in the benchmark's files.
MODELS = {
    "composition": PUBLISHED,
    "pair": "pair, no labels",
    "pair_with_labels": "pair, labels 1 %",
    "pair_with_labels_5": "pair, labels 5 %",
}
LEVEL = 0.95
MADE_BY = "python -m benchmarks.labels_and_features"


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Where from, where to."""

    materials: Path = Path("data/processed")
    """Folder of `python -m data.prepare --source 3dsc` with materials.csv."""
    work: Path = Path("runs/labels_and_features")
    """Folder of the benchmark with the predictions of every fit."""
    out: Path = Path("results/3dsc/labels")
    """Folder for the tables; one below it for each kind of split."""


def main(config: TablesConfig) -> None:
    """Write the tables of each kind of split whose fits are there; print them."""
    columns = ("material_id", "formula", "tc", "chemical_system")
    materials = read_csv(config.materials / "materials.csv", columns, "data.prepare")
    keys = [composition_key(fractions(parse_formula(formula))) for formula in materials["formula"]]
    for kind in SEEDS:
        write_tables(config, materials.assign(key=keys), kind)


def write_tables(config: TablesConfig, materials: pd.DataFrame, kind: Split) -> None:
    """The comparison over all finished seeds of one kind of split.

    Raises:
        UserError: fewer than two are finished, or they are of other materials.
    """
    folders = {f"seed_{seed}": config.work / kind / f"seed_{seed}" for seed in SEEDS[kind]}
    finished = {name: folder for name, folder in folders.items() if is_complete(folder)}
    if len(finished) < 2:
        raise UserError(f"{config.work / kind} holds {len(finished)} finished splits; run {MADE_BY} first")
    splits = {name: divided(materials, kind, int(name.removeprefix("seed_"))) for name in finished}
    runs = {name: run_of(folder, splits[name]) for name, folder in finished.items()}
    scores, same_materials = score_runs(runs)
    comparison = summarise(scores, same_materials, LEVEL)
    write_runs(config.work / kind, scores, comparison)
    write_kept_runs(config.work / kind, runs, splits)
    publish(config.work / kind, config.out / kind)
    print(f"\n{kind}: {terminal(comparison)}")


def run_of(folder: Path, splits: dict[str, pd.DataFrame]) -> Run:
    """The models' predictions of one split's test materials.

    Raises:
        UserError: the predictions are of other materials.
    """
    predicted, test, train = predictions_in(folder), splits["test"], splits["train"]
    if predicted["formula"].tolist() != test["formula"].tolist():
        raise UserError(f"{folder} is of other materials than --materials; run {MADE_BY} with another --work")
    columns = {name: predicted[column] for name, column in MODELS.items()}
    median_mae_K = score(test["tc"], test["tc"], float(train["tc"].median()))["median_mae_K"]
    return Run(
        predictions=test[["material_id", "tc"]].reset_index(drop=True).assign(**columns),
        median_mae_K=dict.fromkeys(MODELS, median_mae_K),
        n_train=dict.fromkeys(MODELS, float(len(train))),
    )


if __name__ == "__main__":
    run(lambda: main(parse(TablesConfig, prog="python -m benchmarks.labels_tables", description=__doc__ or "")))
