"""Model cards: the metadata of a shipped model, and the folder's README made from the cards."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from prediction.intervals import fit_intervals
from prediction.quality import LEAST_MATERIALS, coverage_metadata, new_systems
from prediction.study import Study
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import read_json, sha256

DATA = "3DSC_MP (Sommer et al. 2023, doi 10.1038/s41597-023-02721-y)"
LICENCE = {
    "code and weights": "MIT",
    "training.csv and *_val_predictions.csv": "derived from 3DSC, CC BY 4.0",
    "known.csv": "derived from 3DSC and SuperCon (Stanev et al. 2018, doi 10.1038/s41524-018-0085-8), CC BY 4.0",
}
# Half precision and bf16 shift single predictions by hundredths of a kelvin; another training shifts them by kelvins.
LARGEST_SHIFT = 0.1
# What a network may have learned from beside the training materials.
LEARNED = ("prior_sha256", "extra_labels", "extra_structures", "extra_labels_exclude")
NAMES = {"alignn": "ALIGNN", "dinov3": "vision", "ensemble": "ensemble"}
USE = """\
For a first look at which crystals are worth a measurement or a calculation, by `python predict.py`
(see `docs/prediction.md`). Not for decisions about a single material: see how wide the intervals are.

- The training set holds materials that somebody found worth measuring. A crystal that is no superconductor may get a
  Tc of some kelvins.
- A crystal without a caution is not thereby right; a known compound's measured Tc is shown, never used to predict.
- Intervals reach their nominal coverage in every range of predicted Tc over materials drawn as the validation
  materials were; for new chemical systems it is lower."""
CREDIT = """\
Code and weights: MIT. `training.csv` and `*_val_predictions.csv` hold formulas and Tc from 3DSC, `known.csv` also \
from SuperCon, both CC BY 4.0 (credit: Sommer et al. 2023, Stanev et al. 2018)."""
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
        **{fact: metrics[fact] for fact in LEARNED if fact in metrics},
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


def quality_of(study: Study, name: str, tables: dict[str, pd.DataFrame], grouped: Path | None) -> dict[str, Any]:
    """Difference from the study, intervals, what they hold on test materials, and errors on new chemical systems.

    Args:
        tables: `val` and `test` with `tc`, `tc_pred` and perhaps `tc_std` (K).
        grouped: a study with chemical systems held out.
    """
    intervals = fit_intervals(tables["val"])
    return {
        "file_against_study": agreement(name, tables["test"], study.predictions(name, "test")),
        "intervals": intervals.plain(),
        "prediction_intervals": coverage_metadata(intervals, tables["test"], study.splits["test"]["family"].tolist()),
        "new_systems": new_systems(grouped, study.name(name), intervals),
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

{coverage_tables(cards)}{_cautions(cards)}
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


def coverage_tables(cards: list[dict[str, Any]]) -> str:
    """Coverage of the intervals by range of predicted Tc and by family, and on chemical systems held out."""
    columns = [card["prediction_intervals"] for card in cards]
    found: dict[str, list[str]] = {}
    for part in ("by_predicted_range", "by_family"):
        for place, column in enumerate(columns):
            for group in column[part]:
                cells = found.setdefault(group["group"], ["-"] * len(cards))
                cells[place] = f"{100 * group['coverage']:.0f} % ({group['n']}, {group['mean_width_K']:.0f} K)"
    systems = [card["new_systems"] for card in cards]
    if any(systems):
        found["chemical systems held out"] = [_new_systems(numbers) for numbers in systems]
    names = " | ".join(NAMES[card["name"]] for card in cards)
    rows = [f"| {group} | {' | '.join(cells)} |" for group, cells in found.items()]
    return f"""\
## Intervals of nominally {100 * columns[0]["nominal_coverage"]:g} %

Test materials inside, by predicted Tc and by family of at least {LEAST_MATERIALS} (number, mean width). \
Chemical systems held out: the same intervals on test materials of models of that name trained without these systems, \
and their MAE; means over seeds.

| | {names} |
| --- |{" ---: |" * len(cards)}
{_lines(rows)}
"""


def _new_systems(numbers: dict[str, Any] | None) -> str:
    if numbers is None:
        return "-"
    coverage = "" if numbers["coverage"] is None else f"{100 * numbers['coverage']:.0f} %, "
    return f"{coverage}MAE {numbers['mae_K']:.2f} K (`{numbers['source']}`)"


def _cautions(cards: list[dict[str, Any]]) -> str:
    """What the ensemble's cautions are worth; empty without an ensemble."""
    measured = next((card["cautions"] for card in cards if "cautions" in card), None)
    if measured is None:
        return ""
    test, pressure = measured["test"], measured["pressure"]
    kinds = ", ".join(f"{kind} {100 * part:.1f} %" for kind, part in test["by_kind"].items())
    error = "" if test["ratio"] is None else f"; their error is {test['ratio']:.1f} times that of the others"
    missed = ", ".join(pressure["not_flagged"]) or "none"
    return f"""
## Cautions

{100 * test["flagged"]:.1f} % of the test materials have one ({kinds}){error}. Of {pressure["n"]} crystals of the \
sample whose Tc was measured under pressure {pressure["flagged"]} have one by structure, composition and models; not: \
{missed}. What is known of a compound was not looked up for these figures.
"""


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
    room = "dinov3_pipeline" if card["name"] == "dinov3" else "gat_pipeline"
    also = f"; then `python -m {room}.add_retrieval`" if card.get("neighbours") else ""
    seeds = f", with --seed {', '.join(map(str, card['seeds']))}" if card.get("seeds") else ""
    return f"{started_from(card['origin'])}; `{card['command']}`{seeds}{also}"


def started_from(origin: str) -> str:
    """The initial weights of a training, in words."""
    mean = re.fullmatch(r"(mean of \d+): (.*)", origin)
    return f"{mean[1]} trainings, each started from {mean[2]}" if mean else f"started from {origin}"


def _digests(cards: list[dict[str, Any]]) -> dict[str, str]:
    return {name: digest for card in cards for name, digest in card["files"].items() if not name.endswith(".json")}
