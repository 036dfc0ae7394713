"""Model cards: the metadata of a shipped model, and the folder's README made from the cards."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from prediction.study import Study
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import read_json, sha256

DATA = "3DSC_MP (Sommer et al. 2023, doi 10.1038/s41597-023-02721-y)"
LICENCE = {"code and weights": "MIT", "training.csv and *_val_predictions.csv": "derived from 3DSC, CC BY 4.0"}
# Half precision and bf16 shift single predictions by hundredths of a kelvin; another training shifts them by kelvins.
LARGEST_SHIFT = 0.1
NAMES = {"alignn": "ALIGNN", "dinov3": "vision", "ensemble": "ensemble"}
USE = """\
For a first look at which crystals are worth a measurement or a calculation, by `python predict.py`
(see `docs/prediction.md`). Not for decisions about a single material: see how wide the intervals are.

- The training set holds materials that somebody found worth measuring. A crystal that is no superconductor may get a
  Tc of some kelvins.
- Crystals far from the training set are flagged by their distance, but a small distance makes no prediction right.
- Intervals reach their nominal coverage on average over materials drawn as the validation materials were; within one
  family coverage may be lower."""
CREDIT = """\
Code and weights: MIT. `training.csv` and `*_val_predictions.csv` hold formulas and Tc from 3DSC, CC BY 4.0 (credit: \
Sommer et al. 2023)."""
AT_RANDOM = """
- The split is at random: relatives of most test materials are in the training set, so errors for a new chemical system
  are larger. `results/3dsc_baselines/` says by how much for trees."""


def split_metadata(data_dir: Path, study: Study) -> dict[str, Any]:
    """Data and split, as far as the folder's report.json states them."""
    path = data_dir / "report.json"
    report = read_json(path) if path.is_file() else {}
    config = report.get("config", {})
    return {
        "data": DATA,
        "table_sha256": report.get("source", {}).get("table_sha256"),
        "split": {"kind": config.get("split", "not recorded"), "seed": config.get("seed")},
        "splits_sha256": study.sha256,
    }


def card_of(
    study: Study, name: str, networks: list[str], files: list[Path], metadata: dict[str, Any]
) -> dict[str, Any]:
    """The whole card of one model.

    Args:
        networks: file names of its networks, one a training.
        files: all files that it needs, whose sha256 the card states.
    """
    metrics = study.metrics(name)
    return {
        "name": name,
        "networks": networks,
        "origin": metrics["init"],
        "seeds": metrics.get("seeds"),
        "neighbours": metrics.get("neighbours"),
        **metadata,
        "n_val": len(study.splits["val"]),
        "n_test": len(study.splits["test"]),
        "train_seconds": metrics.get("train_seconds"),
        "trained_at_commit": metrics.get("git_commits", metrics.get("git_commit")),
        "metrics": study.compared(name),
        "files": {file.name: sha256(file) for file in files},
        "shipped_by": "python -m prediction.ship",
        "git_commit": git_commit(),
        "licence": LICENCE,
    }


def agreement(name: str, test: pd.DataFrame, study: pd.DataFrame) -> dict[str, float]:
    """Differences (K) between the written file's and the study's test predictions.

    Raises:
        UserError: they are so large that it is another training.
    """
    shift_K = (test["tc_pred"] - study["tc_pred"].to_numpy()).abs()
    mae_K = float((study["tc_pred"] - study["tc"]).abs().mean())
    if not shift_K.mean() <= LARGEST_SHIFT * mae_K:
        raise UserError(
            f"this {name} differs from the study's test predictions by {shift_K.mean():.2f} K on average (their MAE "
            f"is {mae_K:.2f} K): it is another training; name the checkpoint that the results come from"
        )
    return {
        "mean_abs_difference_K": float(shift_K.mean()),
        "largest_abs_difference_K": float(shift_K.max()),
        "test_mae_K": float((test["tc_pred"] - test["tc"]).abs().mean()),
        "study_test_mae_K": mae_K,
    }


def readme(cards: list[dict[str, Any]]) -> str:
    """Text of the folder's README.md."""
    first, split, uncertainty = cards[0], cards[0]["split"], cards[0]["metrics"]["uncertainty"]
    seed = "" if split["seed"] is None else f", seed {split['seed']}"
    return f"""\
# Models trained on 3DSC

Written by `python -m prediction.ship` from the cards (`*.json`); not edited by hand.

- data: {first["data"]}
- split: {split["kind"]}{seed}; {first["n_train"]} training, {first["n_val"]} validation, {first["n_test"]} test \
materials; fingerprint `{first["splits_sha256"][:12]}`

## Test results

Brackets: {100 * uncertainty["level"]:g} % intervals ({uncertainty["method"].replace("bca", "BCa")} bootstrap) of the \
study's predictions. Coverage and difference from those predictions are of the shipped files.

| model | MAE (K) | RMSE (K) | R² | inside 90 % intervals | their mean width (K) | mean difference (K) |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{_lines(_result(card) for card in cards)}

## Origin

{_lines(f"- {NAMES[card['name']]}: {_origin(card)}" for card in cards)}

## Use and limits

{USE}{AT_RANDOM if split["kind"] == "stratified" else ""}

## Files

| file | sha256 |
| --- | --- |
{_lines(f"| `{name}` | `{digest}` |" for name, digest in sorted(_digests(cards).items()))}

## Licence

{CREDIT}
"""


_lines = "\n".join


def _result(card: dict[str, Any]) -> str:
    test, interval = card["metrics"]["test"], card["metrics"]["interval"]
    numbers = [
        f"{test[name]:.2f} [{interval[name][0]:.2f}, {interval[name][1]:.2f}]" for name in ("mae_K", "rmse_K", "r2")
    ]
    intervals, difference = card["prediction_intervals"], card["file_against_study"]
    numbers += [f"{100 * intervals['test_coverage']:.1f} %", f"{intervals['mean_width_K']:.1f}"]
    numbers += [f"{difference['mean_abs_difference_K']:.3f}"]
    return f"| {NAMES[card['name']]} | {' | '.join(numbers)} |"


def _origin(card: dict[str, Any]) -> str:
    if "weights" in card:
        parts = ", ".join(f"{name} {weight:.3f}" for name, weight in card["weights"].items())
        return f"weighted mean of {parts}; weights fitted on the validation materials by `{card['command']}`"
    also = "; then `python -m gat_pipeline.add_retrieval`" if card.get("neighbours") else ""
    seeds = f", with --seed {', '.join(map(str, card['seeds']))}" if card.get("seeds") else ""
    return f"{started_from(card['origin'])}; `{card['command']}`{seeds}{also}"


def started_from(origin: str) -> str:
    """The initial weights of a training, in words."""
    mean = re.fullmatch(r"(mean of \d+): (.*)", origin)
    return f"{mean[1]} trainings, each started from {mean[2]}" if mean else f"started from {origin}"


def _digests(cards: list[dict[str, Any]]) -> dict[str, str]:
    return {name: digest for card in cards for name, digest in card["files"].items() if not name.endswith(".json")}
