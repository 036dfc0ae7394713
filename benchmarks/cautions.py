"""Cautions and intervals of the shipped predictor, from file to prediction, as a user meets them.

    python -m benchmarks.cautions --data-dir data/processed

Predicts the test materials and the sample's crystals whose Tc was measured under pressure, and counts: how many have a
caution, the error of those against the others, how many intervals hold the measured Tc. A caution because a measured
Tc is known is not counted for test materials: all of them are measured. Writes `benchmarks/results/cautions.json`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prediction import Failure, Prediction, Predictor, load_predictor
from prediction.cautions import Caution
from prediction.load import ModelName
from prediction.quality import caution_metadata, pressure_metadata, pressure_sample
from tc_common.cli import parse, run
from tc_common.environment import git_commit, processor
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.splits import read_splits, splits_sha256

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "cautions.json"


@dataclass(frozen=True, kw_only=True)
class CautionConfig:
    """Which models, on which test materials."""

    data_dir: Path = Path("data/processed")
    """Folder with the split files that the models were trained on (Tc in K)."""
    models_dir: Path = ROOT / "models/3dsc"
    """Folder of the shipped models."""
    model: ModelName = "ensemble"
    """Which of them."""


def main(config: CautionConfig) -> None:
    """Predict, count, write."""
    if not (config.data_dir / "test.csv").exists():
        print(f"skipped: {config.data_dir} holds no split files; make them with python -m data.prepare")
        return
    started = time.process_time()
    predictor, splits = load_predictor(config.models_dir, config.model), read_splits(config.data_dir)
    test, sample = splits["test"], pressure_sample()
    predicted, compressed = predictions(predictor, test), predictions(predictor, sample)
    table = test.assign(tc_pred=[each.tc_K for each in predicted])
    inside = [p.lower_K <= tc_K <= p.upper_K for p, tc_K in zip(predicted, test["tc"], strict=True)]
    report = {
        "command": "python -m benchmarks.cautions --data-dir DIR",
        "machine": processor(),
        "splits_sha256": splits_sha256(splits),
        "model": config.model,
        "members": list(predictor.members),
        "test": caution_metadata(table, [without_known(each) for each in predicted]),
        "test_with_known": caution_metadata(table, [each.cautions for each in predicted]),
        "coverage": sum(inside) / len(inside),
        "pressure_by_structure_and_models": pressure_metadata(sample, [by_structure(each) for each in compressed]),
        "pressure": pressure_metadata(sample, [each.cautions for each in compressed]),
        "pressure_predictions": predicted_rows(sample, compressed),
        "processor_seconds": round(time.process_time() - started),
        "git_commit": git_commit(),
    }
    write_json(RESULT, report)
    print({name: value for name, value in report.items() if name.startswith(("test", "coverage", "pressure"))})


def predictions(predictor: Predictor, materials: pd.DataFrame) -> list[Prediction]:
    """Predictions in the order of the table.

    Raises:
        UserError: a crystal that was not predicted.
    """
    made = list(predictor.predict_many([Path(cif) for cif in materials["cif"]]))
    failures = [each for each in made if isinstance(each, Failure)]
    if failures:
        raise UserError(f"{failures[0].name}: {failures[0].error}")
    return [each for each in made if isinstance(each, Prediction)]


def without_known(prediction: Prediction) -> tuple[Caution, ...]:
    """Cautions but for a measured Tc outside the interval."""
    return tuple(caution for caution in prediction.cautions if caution.kind != "known")


def by_structure(prediction: Prediction) -> tuple[Caution, ...]:
    """Cautions that need nothing to be known of the compound."""
    return tuple(caution for caution in without_known(prediction) if "was measured under" not in caution.text)


def predicted_rows(materials: pd.DataFrame, made: Sequence[Prediction]) -> list[dict[str, Any]]:
    """What a user reads of each crystal."""
    rows = zip(materials["material_id"], materials["tc"], materials["pressure_GPa"], made, strict=True)
    return [
        {
            "material_id": name, "measured_K": float(tc_K), "pressure_GPa": float(pressure), "tc_K": each.tc_K,
            "cautions": [caution.kind for caution in each.cautions],
        }
        for name, tc_K, pressure, each in rows
    ]  # fmt: skip


if __name__ == "__main__":
    run(lambda: main(parse(CautionConfig, prog="python -m benchmarks.cautions", description=__doc__ or "")))
