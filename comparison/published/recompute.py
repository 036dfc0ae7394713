"""Recompute every number of a published results folder from its predictions and compare with what it records."""

from pathlib import Path
from typing import Any

import pandas as pd

from comparison.calibration import all_intervals
from comparison.ensemble import ensemble_predictions, with_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import Results, gather_on, read_kept_splits, read_metrics
from comparison.published.differences import differences, table_differences, text_differences
from comparison.published.readme import read_comparison, read_text
from comparison.repeats import RUNS_FILE, Run, read_kept_runs, read_run, score_runs, summarise
from comparison.report.documents import markdown
from tc_common.errors import UserError
from tc_common.files import plain, read_csv
from tc_common.metrics import score
from tc_common.predictions import read_predictions
from tc_common.results import COVERAGE, ENDING, METRICS_ENDING, VAL_ENDING

# Facts of the run that made them, not of the predictions.
NOT_RECOMPUTED = ("git_commit",)
ENDINGS = {"val": VAL_ENDING, "test": ENDING}
MADE_BY = "python compare_models.py"


def recompute(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """What differs in a folder, one line for each file that does, and its comparison made anew.

    A folder of models is recomputed from `<model>_predictions.csv` and the splits it keeps; one over runs from the
    predictions of all runs that it keeps, or from the run folders below it, which are recomputed too.

    Raises:
        UserError: a file is missing or damaged, or materials differ between files.
    """
    recorded = read_comparison(folder)
    return _recompute_runs(folder, recorded) if "runs" in recorded else _recompute_models(folder, recorded)


def _recompute_models(folder: Path, recorded: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    _require_predictions(folder, recorded)
    results = gather_on(folder, read_kept_splits(folder) if recorded["splits_sha256"] else None)
    ensembles = recorded["ensembles"]
    fitting = ensembles.get("ensemble", {}).get("fitting", "ungrouped")
    results = with_ensembles(results, list(ensembles), recorded["uncertainty"]["seed"], fitting)
    coverage = _nominal_coverage(folder, recorded)
    uncertainty = Uncertainty(**{key: value for key, value in recorded["uncertainty"].items() if key != "method"})
    comparison = _as_recorded(plain(evaluate(results, uncertainty, coverage, recorded["weighted"])), recorded)
    lines = [line for name in results.test for line in _metrics(folder, results, name)]
    lines += [line for name in results.ensembles for line in _ensemble(folder, results, name, coverage)]
    lines += _first(differences(folder / "comparison.json", recorded, comparison))
    lines += _report(folder, markdown(comparison)) + _intervals(folder, all_intervals(results, comparison))
    return lines, comparison


def _nominal_coverage(folder: Path, recorded: dict[str, Any]) -> float:
    found = [model["calibration"] for model in recorded["models"].values() if model["calibration"]]
    if not all("nominal_coverage" in calibration for calibration in found):
        raise UserError(f"{folder}/comparison.json was written by an earlier version; make it again: {MADE_BY}")
    return float(found[0]["nominal_coverage"]) if found else COVERAGE


def _require_predictions(folder: Path, recorded: dict[str, Any]) -> None:
    for path in (folder / f"{name}{ENDING}" for name in recorded["models"]):
        if not path.exists():
            raise UserError(f"{path} is missing, but comparison.json has numbers of it; put it back or compare again")


def _as_recorded(comparison: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    return comparison | {key: recorded[key] for key in NOT_RECOMPUTED}


def _metrics(folder: Path, results: Results, name: str) -> list[str]:
    """`<model>_metrics.json` against the scores of `<model>_predictions.csv`."""
    path = folder / f"{name}{METRICS_ENDING}"
    stated = read_metrics(path)
    if not stated:
        return [f"{path} is missing; run the model again"]
    expected = _expected_metrics(results, name)
    lines = differences(path, {key: stated[key] for key in expected if key in stated}, expected)
    if "baselines" in stated:  # the composition's metrics repeat those of the kind of trees that was taken
        scores = {key: expected[key] for key in _scores(results, name)}
        again = {key: value for key, value in stated["baselines"][stated["chosen"]].items() if key in scores}
        lines += differences(path, again, scores, f"baselines/{stated['chosen']}")
    return _first(lines)


def _expected_metrics(results: Results, name: str) -> dict[str, Any]:
    """All of a metrics file that follows from predictions and splits."""
    if name in results.ensembles:
        return {key: value for key, value in results.metrics[name].items() if key not in NOT_RECOMPUTED}
    expected = _scores(results, name)
    if results.training_size is not None:
        known = {"n_train": results.training_size, "splits_sha256": results.splits_sha256}
        expected |= known
    if name in results.val:
        residual_K = results.val[name]["tc_pred"] - results.truth["val"]["tc"].to_numpy()
        val_mae_K = float(residual_K.abs().mean())
        expected["val_mae_K"] = val_mae_K
    return expected


def _scores(results: Results, name: str) -> dict[str, Any]:
    """Scores of a model; without splits the training median is unknown, hence the skill."""
    scores = score(results.column("tc"), results.test[name]["tc_pred"], results.training_median_K)
    return {key: value for key, value in scores.items() if value == value}


def _ensemble(folder: Path, results: Results, name: str, coverage: float) -> list[str]:
    """The ensemble's own predictions, recomputed from those that it combines."""
    lines = []
    for split, table in ensemble_predictions(results, name, coverage).items():
        path = folder / f"{name}{ENDINGS.get(split, f'_{split}{ENDING}')}"
        lines += _first(table_differences(path, read_predictions(path), table, ["material_id"]))
    return lines


def _report(folder: Path, text: str) -> list[str]:
    """`comparison.md`, where it is published."""
    path = folder / "comparison.md"
    return text_differences(path, read_text(path), text) if path.exists() else []


def _intervals(folder: Path, table: pd.DataFrame | None) -> list[str]:
    """`comparison_intervals.csv`, where it is published."""
    path = folder / "comparison_intervals.csv"
    if table is None or not path.exists():
        return []
    stated = read_csv(path, tuple(table.columns), MADE_BY)
    return _first(table_differences(path, stated, table, ["model", "material_id"]))


def _recompute_runs(folder: Path, recorded: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    stated = read_csv(folder / "runs.csv", ("run", "model"), f"{MADE_BY} runs")
    lines, runs = _runs_of(folder, [str(run) for run in stated["run"].unique()])
    scores, same_materials = score_runs(runs)
    lines += _first(table_differences(folder / "runs.csv", stated, scores, ["run", "model"]))
    comparison = _as_recorded(plain(summarise(scores, same_materials, recorded["level"])), recorded)
    lines += _first(differences(folder / "comparison.json", recorded, comparison))
    return lines + _report(folder, markdown(comparison)), comparison


def _runs_of(folder: Path, names: list[str]) -> tuple[list[str], dict[str, Run]]:
    """Predictions of all runs: the table that the folder keeps, or the run folders below it."""
    if (folder / RUNS_FILE).exists():
        return [], read_kept_runs(folder)
    lines = []
    for name in names:
        if not (folder / name).is_dir():
            raise UserError(
                f"{folder / name} is missing, but runs.csv has numbers of it, and no {RUNS_FILE} keeps them"
            )
        lines += recompute(folder / name)[0]
    return lines, {name: read_run(folder / name) for name in names}


def _first(lines: list[str]) -> list[str]:
    """The first difference of a file, and how many more there are."""
    return [lines[0] + (f" (and {len(lines) - 1} more in this file)" if len(lines) > 1 else "")] if lines else []
