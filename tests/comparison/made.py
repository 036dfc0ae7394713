"""Made-up results: splits and the predictions of models with known errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comparison.gather import Results, gather
from tc_common.files import write_csv
from tc_common.further import OTHERS
from tc_common.results import metrics_of, write_further, write_results
from tc_common.splits import SPLITS, read_splits, write_splits

FORMULAS = ("Nb3Sn", "MgB2", "YBa2Cu3O7", "FeSe", "La1.85Sr0.15CuO4", "Pb", "CeCoIn5", "PdD")
FAMILIES = ("A15", "MgB2-like", "cuprate", "iron-based", "cuprate", "element", "heavy fermion", "hydride")


def make_splits(folder: Path, count: int = 60, seed: int = 0) -> dict[str, pd.DataFrame]:
    """`count` materials in each split, eight formulas in turn, a third of them not superconducting."""
    random = np.random.default_rng(seed)
    splits = {}
    for name in SPLITS:
        kind = np.arange(count) % len(FORMULAS)
        tc_K = np.where(random.random(count) < 0.3, 0.0, random.lognormal(1.5, 1.3, count).clip(0, 130)).round(3)
        splits[name] = pd.DataFrame(
            {
                "material_id": [f"{name}-{row:03d}" for row in range(count)],
                "formula": [FORMULAS[k] for k in kind],
                "tc": tc_K,
                "cif": "x.cif",
                "mp_id": "",
                "chemical_system": [FORMULAS[k].rstrip("0123456789.") for k in kind],
                "family": [FAMILIES[k] for k in kind],
                "weight": 1.0,
            }
        )
    write_splits(folder, splits)
    return read_splits(folder)


def make_model(
    folder: Path, name: str, splits: dict[str, pd.DataFrame], noise_K: float, seed: int, **metrics: Any
) -> None:
    """Predictions whose error is a normal deviate of `noise_K`, on validation and test materials, and metrics."""
    random = np.random.default_rng(seed)
    predicted = {}
    for split in ("val", "test"):
        known = splits[split][["material_id", "formula", "tc"]]
        predicted[split] = known.assign(tc_pred=known["tc"] + random.normal(0, noise_K, len(known)))
    write_results(folder, name, predicted, metrics_of(name, splits, predicted, metrics))


def make_further(
    folder: Path,
    name: str,
    splits: dict[str, pd.DataFrame],
    noise_K: float,
    seed: int,
    structures: int = 2,
    spread_K: float = 0.0,
) -> None:
    """Predictions of `structures` further ones of each held-out material, and of twelve crystals: half are known.

    `noise_K` is a composition's error, `spread_K` that of each structure of it.
    """
    random = np.random.default_rng(seed)
    predicted = {}
    for test, split in OTHERS.items():
        table = splits[split].loc[splits[split].index.repeat(structures), ["material_id", "formula", "tc"]]
        number = np.tile(np.arange(structures), len(splits[split]))
        ids = [f"{chosen}-{n}" for chosen, n in zip(table["material_id"], number, strict=True)]
        error_K = np.repeat(random.normal(0, noise_K, len(splits[split])), structures)
        pred_K = table["tc"] + error_K + random.normal(0, spread_K, len(table))
        predicted[test] = table.assign(chosen=table["material_id"], material_id=ids, tc_pred=pred_K)
    tc_K = np.arange(12.0)
    crystals = {
        "material_id": [f"crystal-{row:02d}" for row in range(12)],
        "formula": "MgB2",
        "tc": tc_K,
        "tc_pred": tc_K + np.where(tc_K < 6, 1.0, 4.0),
        "known": tc_K < 6,
        "split": np.where(tc_K < 6, "train", "none"),
        "family": np.where(tc_K % 3 == 0, "cuprate", "element"),
    }
    write_further(folder, name, {**predicted, "literature": pd.DataFrame(crystals)})


def make_results(folder: Path, noise_K: dict[str, float], count: int = 60, seed: int = 0) -> Results:
    """Splits under `splits/` and one model per entry of `noise_K`, gathered."""
    splits = make_splits(folder / "splits", count, seed)
    for number, (name, noise) in enumerate(noise_K.items()):
        costs = {"train_seconds": 10.0 * (number + 1), "inference_ms_per_sample": 2.0, "parameters": 100}
        make_model(folder, name, splits, noise, 10 * seed + number, init="random", **costs)
    return gather(folder, folder / "splits")


def make_history(folder: Path, name: str, epochs: int = 5) -> None:
    """A validation error that falls."""
    epoch = np.arange(1, epochs + 1)
    write_csv(folder / f"{name}_history.csv", pd.DataFrame({"epoch": epoch, "val_mae_K": 10.0 / epoch}))


def read_json(path: Path) -> Any:
    """Content of a JSON file; NaN and Infinity, which are not JSON, are an error."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
