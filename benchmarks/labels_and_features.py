"""What SuperCon's labels, features of doping and a second learner give over the published trees, on 3DSC.

    SUPERVISION_DATA=FOLDER python -m data.prepare --source $SUPERVISION_DATA/3dsc/3DSC_MP.tar.gz --out runs/3dsc
    SUPERVISION_DATA=FOLDER python -m benchmarks.labels_and_features --materials runs/3dsc

Divides the materials anew for every seed: chemical systems held out (42 to 51) and at random (42 to 46). Every fit is
kept in `--work`, so that a run that was stopped goes on. Writes `benchmarks/results/labels_and_features.json`: errors
of each model on each split, mean and SD, and the paired difference to the published trees with a 95 % interval of the
corrected t-test for splits that share materials (Nadeau & Bengio 2003, doi 10.1023/A:1024068626366).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from baselines.models import fit_extra_trees
from baselines.pair import KIND, fit_pair
from data.splitting import Split, divide
from data.supercon import (
    TABLE,
    audit,
    check_labels,
    drop_known,
    exclude_held_out,
    labels_of,
    one_row_a_composition,
    report_of,
)
from data.tables import read_table
from tc_common.chemistry import composition_features
from tc_common.cli import parse, run
from tc_common.composition import composition_key, fractions, parse_formula
from tc_common.environment import git_commit, processor
from tc_common.files import read_csv, write_csv, write_json
from tc_common.labels import ExtraLabels, with_labels
from tc_common.metrics import score
from tc_common.splits import SPLITS

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "labels_and_features.json"
Splits = dict[str, pd.DataFrame]
# Name of a set of extra labels, and the fraction of the atoms within which none is near a held-out composition.
LABELS: dict[str, float | None] = {"no labels": None, "labels 1 %": 0.01, "labels 5 %": 0.05}
SEEDS: dict[Split, tuple[int, ...]] = {"chemical-system": tuple(range(42, 52)), "stratified": tuple(range(42, 47))}
PUBLISHED = "published trees"
MODELS = ("pair_trees", "pair_boosting", "pair")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    materials: Path = Path("data/processed")
    """Folder of `python -m data.prepare --source 3dsc` with materials.csv."""
    supercon: Path | None = None
    """SuperCon's table (default: below $SUPERVISION_DATA)."""
    work: Path = Path("runs/labels_and_features")
    """Folder for the predictions of every fit (ignored by git)."""
    seeds: int = 10
    """Use the first so many seeds of each kind of split (>= 2)."""
    report_only: bool = False
    """Fit nothing; report what `--work` holds."""

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ValueError("--seeds must be at least 2")


def main(config: BenchmarkConfig) -> None:
    """Fit what is missing, then report all that is there."""
    table = config.supercon or Path(os.environ.get("SUPERVISION_DATA", "nowhere"), "supercon", TABLE)
    if not table.is_file() or not (config.materials / "materials.csv").is_file():
        print("skipped: set SUPERVISION_DATA or --supercon, and --materials to a folder of data.prepare")
        return
    columns = ("formula", "tc", "chemical_system")
    materials = read_csv(config.materials / "materials.csv", columns, "data.prepare")
    rows = read_table(table, ("name", "Tc")).rename(columns={"Tc": "tc"})[["row", "name", "tc"]]
    rows = one_row_a_composition(check_labels(rows))
    if not config.report_only:
        fit_missing(config, materials, rows)
    report = {"supercon": counts(rows, materials), **report_on(config)}
    write_json(RESULT, {"command": "python -m benchmarks.labels_and_features", **report})
    for kind, rows in report["splits"].items():
        for name, row in rows["models"].items():
            errors = f"MAE {row['mae_K_mean']:.2f} ± {row['mae_K_sd'] or 0:.2f} K, MSLE {row['msle_mean']:.2f}"
            print(f"{kind:<16} {name:<28} {len(row['mae_K']):>2} splits  {errors}")


def counts(rows: pd.DataFrame, materials: pd.DataFrame) -> dict[str, int]:
    """Statuses of SuperCon's rows against all of 3DSC, before any is excluded."""
    known = drop_known(rows, dict.fromkeys(SPLITS, materials))
    left = labels_of(known)
    statuses = known["status"].replace("", "left").value_counts().sort_index()
    return {"rows": len(rows), **statuses.to_dict(), "left_at_0_K": int((left["tc"] == 0).sum())}


def fit_missing(config: BenchmarkConfig, materials: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Fit every model on every split that `--work` does not hold yet."""
    keys = [composition_key(fractions(parse_formula(formula))) for formula in materials["formula"]]
    names = (PUBLISHED, *LABELS)
    runs = [(seed, kind, name) for kind in SEEDS for seed in SEEDS[kind][: config.seeds] for name in names]
    for seed, kind, name in sorted(runs, key=lambda each: each[0]):
        path = config.work / kind / f"seed_{seed}" / f"{name}.csv"
        if not path.is_file():
            fit_one(path, name, rows, divided(materials.assign(key=keys), kind, seed), kind, seed)


def divided(materials: pd.DataFrame, kind: Split, seed: int) -> Splits:
    """The three splits of a seed."""
    names = divide(materials, kind, seed)
    return {name: materials[names == name].reset_index(drop=True) for name in SPLITS}


def fit_one(path: Path, name: str, rows: pd.DataFrame, splits: Splits, kind: Split, seed: int) -> None:
    """Fit one kind of model on one split; its test predictions, and what labels it had, go to `path`."""
    test = splits["test"][["formula", "chemical_system", "tc"]]
    if name == PUBLISHED:
        write_csv(path, test.assign(**{PUBLISHED: published_trees(splits, kind, seed)}))
        return
    labels = labels_for(rows, splits, LABELS[name], kind)
    learned = with_labels(splits["train"], labels)
    predictors = fit_pair(_features(learned), learned["tc"].to_numpy(float), seed)
    predicted = {model: predictors[model](_features(test))[0] for model in MODELS}
    if labels is not None:
        facts = report_of(rows, labels.table, splits, audit(labels.table, splits))
        write_json(
            path.with_suffix(".json"), {"labels": facts["labels"], "distance_of_test": facts["distance_of_test"]}
        )
    write_csv(path, test.assign(**predicted))
    mae_K = np.abs(predicted["pair"] - test["tc"]).mean()
    print(f"{kind} {seed} {name}: {mae_K:.2f} K", flush=True)


def labels_for(rows: pd.DataFrame, splits: Splits, exclude: float | None, kind: Split) -> ExtraLabels | None:
    """The extra labels of a split."""
    if exclude is None:
        return None
    return ExtraLabels(labels_of(exclude_held_out(drop_known(rows, splits), splits, exclude, kind)), exclude, kind)


def _features(table: pd.DataFrame) -> Any:
    return composition_features(table["formula"].tolist(), KIND)


def published_trees(splits: Splits, kind: Split, seed: int) -> Any:
    """The published trees' predictions (K) of the test materials; fitted by the same recipe where none are stored."""
    folder = ROOT / "results" / "3dsc" / (f"{kind}/seed_{seed}" if kind == "chemical-system" else kind)
    stored = folder / "composition_predictions.csv"
    if stored.is_file() and (kind == "chemical-system" or seed == 42):
        known = read_csv(stored, ("formula", "tc_pred"), "compare_models.py").set_index("formula")["tc_pred"]
        if set(known.index) == set(splits["test"]["formula"]):
            return known.loc[splits["test"]["formula"]].to_numpy(float)
    features = {name: composition_features(splits[name]["formula"].tolist()) for name in SPLITS}
    predictors = fit_extra_trees(features["train"], splits["train"]["tc"].to_numpy(float), seed)
    best = min(predictors, key=lambda name: np.abs(predictors[name](features["val"])[0] - splits["val"]["tc"]).mean())
    return predictors[best](features["test"])[0]


def report_on(config: BenchmarkConfig) -> dict[str, Any]:
    """Errors of every model on the splits for which all fits are there."""
    report: dict[str, Any] = {"machine": processor(), "git_commit": git_commit(), "splits": {}}
    for kind, seeds in SEEDS.items():
        folders = {seed: config.work / kind / f"seed_{seed}" for seed in seeds[: config.seeds]}
        folders = {seed: folder for seed, folder in folders.items() if is_complete(folder)}
        if len(folders) >= 2:
            tables = {seed: predictions_in(folder) for seed, folder in folders.items()}
            report["splits"][kind] = summary(tables) | {"labels": labels_in(folders)}
    return report


def is_complete(folder: Path) -> bool:
    """Whether every fit of a split is there."""
    return all((folder / f"{name}.csv").is_file() for name in (PUBLISHED, *LABELS))


def predictions_in(folder: Path) -> pd.DataFrame:
    """Measured and predicted Tc (K) of the test materials of one split, one column per model."""
    columns: dict[str, pd.Series] = {}
    for name in (PUBLISHED, *LABELS):
        table = read_csv(folder / f"{name}.csv", ("formula", "tc"), "benchmarks.labels_and_features")
        columns |= {column: table[column] for column in ("formula", "chemical_system", "tc")}
        columns |= {PUBLISHED: table[PUBLISHED]} if name == PUBLISHED else {}
        columns |= {f"{model}, {name}": table[model] for model in MODELS if model in table}
    return pd.DataFrame(columns)


def labels_in(folders: dict[int, Path]) -> dict[str, Any]:
    """How many extra labels there were, and how near the test compositions are to a label: means over the splits."""
    found: dict[str, Any] = {}
    for name in LABELS:
        facts = [read_facts(folder / f"{name}.json") for folder in folders.values()]
        if known := [fact for fact in facts if fact]:
            found[name] = {key: float(np.mean([fact[key] for fact in known])) for key in known[0]}
    return found


def read_facts(path: Path) -> dict[str, float]:
    """Numbers of labels and of test compositions within some distance of one, by name; empty without the file."""
    if not path.is_file():
        return {}
    facts = pd.json_normalize(pd.read_json(path, typ="series").to_dict()).iloc[0]
    return {str(key): float(value) for key, value in facts.items()}


def summary(tables: dict[int, pd.DataFrame]) -> dict[str, Any]:
    """Each model's errors over the seeds, and its paired difference to the published trees."""
    models = next(iter(tables.values())).columns.drop(["formula", "chemical_system", "tc"])
    return {
        "largest_systems": {str(seed): largest_system(table) for seed, table in tables.items()},
        "models": {model: model_row(tables, model) for model in models},
    }


def largest_system(table: pd.DataFrame) -> str:
    """The chemical system with most of the published trees' error."""
    error = (table[PUBLISHED] - table["tc"]).abs()
    return str(error.groupby(table["chemical_system"]).sum().idxmax())


def model_row(tables: dict[int, pd.DataFrame], model: str) -> dict[str, Any]:
    """Errors per seed, mean, SD, and what the paired difference is, with all materials and without one system."""
    errors = {seed: errors_of(table, model) for seed, table in tables.items()}
    row: dict[str, Any] = {"seeds": [*tables]}
    for key in ("mae_K", "msle", "mae_K_without_largest_system"):
        values = np.array([each[key] for each in errors.values()])
        bar = np.array([errors_of(tables[seed], PUBLISHED)[key] for seed in errors])
        row |= {key: values.tolist(), f"{key}_mean": values.mean(), f"{key}_sd": _sd(values)}
        row[f"{key}_difference"] = difference(values - bar)
    return row


def errors_of(table: pd.DataFrame, model: str) -> dict[str, float]:
    """MAE (K) and MSLE, and the MAE without the system with most of the published trees' error."""
    rest = table[table["chemical_system"] != largest_system(table)]
    whole = score(table["tc"], table[model], float("nan"))
    without = score(rest["tc"], rest[model], float("nan"))
    return {"mae_K": whole["mae_K"], "msle": whole["msle"], "mae_K_without_largest_system": without["mae_K"]}


def _sd(values: Any) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def difference(values: Any) -> dict[str, Any]:
    """Mean, 95 % interval of the corrected t-test (15 % tested, 70 % learned from), number of better splits."""
    count = len(values)
    low = high = None
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) * (1 / count + 0.15 / 0.70) ** 0.5
        low, high = float(values.mean() - half), float(values.mean() + half)
    return {"mean": float(values.mean()), "low": low, "high": high, "better": int((values < 0).sum()), "of": count}


if __name__ == "__main__":
    run(
        lambda: main(
            parse(BenchmarkConfig, prog="python -m benchmarks.labels_and_features", description=__doc__ or "")
        )
    )
