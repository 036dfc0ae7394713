"""What smaller trees cost: validation and test MAE (K) and size (MB) of the pair and of the published trees.

    python -m benchmarks.shipped_trees --data-dir data/processed --extra-labels data/processed/extra_labels.csv

The pair at full size (2,000 rounds of 255 leaves, 80 trees) with extra labels, then fewer rounds, leaves and trees,
and leaves of more materials; the published trees with the same labels, fewer of them. Sizes are those of
`prediction.trees`. Writes `benchmarks/results/shipped_trees.json`; about eight minutes of processor time.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from baselines.models import Forest
from baselines.pair import BOOSTING, KIND, MAX_FEATURES, TREES, with_labels
from prediction.trees import Arrays, boosted_nodes, grown_nodes, packed
from tc_common.chemistry import composition_features
from tc_common.cli import parse, run
from tc_common.composition import Array
from tc_common.environment import git_commit, processor
from tc_common.files import write_json
from tc_common.labels import read_extra_labels
from tc_common.splits import SPLITS, read_splits, splits_sha256

RESULT = Path(__file__).resolve().parent / "results" / "shipped_trees.json"
ROUNDS, LEAVES = (200, 400, 600, 1000, 2000), (63, 127, 255)
FOREST_TREES, LEAST_IN_LEAF = (20, 40, 80), (1, 2, 3)
PUBLISHED_TREES = (50, 100, 200)


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """On which split."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    extra_labels: Path = Path("data/processed/extra_labels.csv")
    """Labels of `python -m data.supercon` for these split files."""
    seed: int = 42
    """Seed of all trees (>= 0)."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")


@dataclass(frozen=True, eq=False)
class Sets:
    """Features and Tc (K) to learn from, to validate and to test."""

    features: dict[str, Array]
    tc_K: dict[str, Array]


def main(config: SizeConfig) -> None:
    """Fit, measure, write."""
    if not (config.data_dir / "train.csv").exists():
        print(f"skipped: {config.data_dir} holds no split files; make them with python -m data.prepare")
        return
    started = time.process_time()
    splits = read_splits(config.data_dir)
    learned = with_labels(splits["train"], read_extra_labels(config.extra_labels, config.data_dir))
    tables = {**splits, "train": learned}
    tc_K = {name: tables[name]["tc"].to_numpy(float) for name in SPLITS}
    formulas = {name: tables[name]["formula"].tolist() for name in SPLITS}
    physics = Sets({name: composition_features(formulas[name], KIND) for name in SPLITS}, tc_K)
    plain = Sets({name: composition_features(formulas[name]) for name in SPLITS}, tc_K)
    rows = [*pairs(physics, config.seed), *published(plain, config.seed)]
    report = {
        "command": "python -m benchmarks.shipped_trees --data-dir DIR --extra-labels DIR/extra_labels.csv",
        "machine": processor(),
        "splits_sha256": splits_sha256(splits),
        "rows": rows,
        "git_commit": git_commit(),
        "processor_seconds": round(time.process_time() - started),
    }
    write_json(RESULT, report)
    print(*rows, sep="\n")


def pairs(sets: Sets, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each combination: all with the full other half, and the smaller halves with each other."""
    forests = {(k, least): each for least in LEAST_IN_LEAF for k, each in forest_sizes(sets, seed, least).items()}
    boosted = {(r, leaves): each for leaves in LEAVES for r, each in boosting_sizes(sets, seed, leaves).items()}
    for (trees, least), forest in forests.items():
        for (rounds, leaves), boosting in boosted.items():
            pred_K = {name: (forest[name] + boosting[name]) / 2 for name in ("val", "test")}
            yield {
                "model": "pair_with_labels", "trees": trees, "least_in_leaf": least, "rounds": rounds,
                "leaves": leaves,
                "MB": round(forest["MB"] + boosting["MB"], 2), **maes_K(pred_K, sets),
            }  # fmt: skip


def maes_K(pred_K: dict[str, Array], sets: Sets) -> dict[str, float]:
    """Mean absolute errors."""
    return {f"{name}_mae_K": round(float(np.abs(pred_K[name] - sets.tc_K[name]).mean()), 4) for name in pred_K}


def forest_sizes(sets: Sets, seed: int, least: int) -> dict[int, dict[str, Any]]:
    """Predictions and size by number of trees."""
    columns = np.ptp(sets.features["train"], axis=0) > 0
    model = ExtraTreesRegressor(TREES, max_features=MAX_FEATURES, min_samples_leaf=least, random_state=seed, n_jobs=-1)
    model.fit(sets.features["train"][:, columns], np.sqrt(sets.tc_K["train"]))
    votes = {name: Forest(model, columns, root=True).votes(sets.features[name]) for name in ("val", "test")}
    nodes = [grown_nodes(each.tree_) for each in model.estimators_]
    return {
        k: {"MB": megabytes(packed("f", nodes[:k], np.float32)), **{n: np.median(votes[n][:k], axis=0) for n in votes}}
        for k in FOREST_TREES
    }


def boosting_sizes(sets: Sets, seed: int, leaves: int) -> dict[int, dict[str, Any]]:
    """Predictions and size by number of rounds."""
    columns = np.ptp(sets.features["train"], axis=0) > 0
    data = lightgbm.Dataset(sets.features["train"][:, columns], np.sqrt(sets.tc_K["train"]))
    booster = lightgbm.train({**BOOSTING, "num_leaves": leaves, "seed": seed}, data, max(ROUNDS))
    nodes = [boosted_nodes(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]]

    def predict(name: str, rounds: int) -> Array:
        root = np.asarray(booster.predict(sets.features[name][:, columns], num_iteration=rounds))
        return np.maximum(root, 0.0) ** 2

    return {
        k: {"MB": megabytes(packed("b", nodes[:k], np.float64)), **{n: predict(n, k) for n in ("val", "test")}}
        for k in ROUNDS
    }


def published(sets: Sets, seed: int) -> Iterator[dict[str, Any]]:
    """The published trees by number; of the recipe's 500 the first are the same."""
    model = ExtraTreesRegressor(max(PUBLISHED_TREES), max_features=0.5, random_state=seed, n_jobs=-1)
    model.fit(sets.features["train"], sets.tc_K["train"])
    forest = Forest(model, np.full(sets.features["train"].shape[1], True))
    votes = {name: forest.votes(sets.features[name]) for name in ("val", "test")}
    nodes = [grown_nodes(each.tree_) for each in model.estimators_]
    for k in PUBLISHED_TREES:
        pred_K = {name: np.median(votes[name][:k], axis=0) for name in votes}
        yield {
            "model": "composition_with_labels",
            "trees": k,
            "MB": round(megabytes(packed("f", nodes[:k], np.float32)), 2),
            **maes_K(pred_K, sets),
        }


def megabytes(arrays: Arrays) -> float:
    """Size in a file."""
    return sum(array.nbytes for array in arrays.values()) / 1e6


if __name__ == "__main__":
    run(lambda: main(parse(SizeConfig, prog="python -m benchmarks.shipped_trees", description=__doc__ or "")))
