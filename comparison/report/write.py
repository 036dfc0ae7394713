"""Write a comparison: JSON, markdown, HTML page, figures, prediction intervals."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from comparison.calibration import all_intervals
from comparison.gather import SPLITS_FILE, Results, write_kept_splits
from comparison.report import plots
from comparison.report.documents import markdown
from comparison.report.page import page
from comparison.report.plots import draw, error_map
from tc_common.files import plain, write_csv, write_json, write_text


def write_comparison(folder: Path, results: Results, comparison: dict[str, Any]) -> list[Path]:
    """Write every file of one comparison into `folder`; returns what was written."""
    comparison = plain(comparison)
    written = _write_report(folder, comparison, figures_of(results, comparison))
    intervals = all_intervals(results, comparison)
    if intervals is not None:
        write_csv(folder / "comparison_intervals.csv", intervals)
    (folder / SPLITS_FILE).unlink(missing_ok=True)  # those of an earlier comparison belong to other numbers
    if results.splits:
        write_kept_splits(folder, results.splits)
    further = ["comparison_intervals.csv"] * (intervals is not None) + [SPLITS_FILE] * bool(results.splits)
    return written + [folder / name for name in further]


def write_runs(folder: Path, runs: pd.DataFrame, comparison: dict[str, Any]) -> list[Path]:
    """Write the comparison over several runs into `folder`; returns what was written."""
    comparison = plain(comparison)
    write_csv(folder / "runs.csv", runs)
    figure = partial(plots.scores_over_runs, runs, list(comparison["models"]))
    return [folder / "runs.csv", *_write_report(folder, comparison, {"runs": figure})]


def _write_report(folder: Path, comparison: dict[str, Any], figures: dict[str, Callable[[], Figure]]) -> list[Path]:
    """Write JSON, markdown, HTML and every figure as PNG."""
    images = {name: folder / "plots" / f"{name}.png" for name in figures}
    drawn = {name: draw(build, images[name]) for name, build in figures.items()}
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", markdown(comparison))
    write_text(folder / "comparison.html", page(comparison, drawn))
    return [*(folder / f"comparison.{ending}" for ending in ("json", "md", "html")), *images.values()]


def figures_of(results: Results, comparison: dict[str, Any]) -> dict[str, Callable[[], Figure]]:
    """Builders of the figures that these results can fill, by file name."""
    models = list(comparison["models"])
    best = comparison["models"][models[0]]
    figures: dict[str, Callable[[], Figure]] = {
        **{f"parity_{name}": partial(plots.parity, results, name) for name in models},
        "error_by_range": partial(plots.error_by_group, comparison, "by_range"),
        "residuals": partial(plots.residuals, results, models),
        "cumulative_error": partial(plots.cumulative_error, results, models),
        "compression": partial(plots.compression, results, models),
        f"error_map_{models[0]}": partial(error_map, results, models[0]),
    }
    if best["by_family"]:
        figures["error_by_family"] = partial(plots.error_by_group, comparison, "by_family")
    if any(model["calibration"] for model in comparison["models"].values()):
        figures["coverage"] = partial(plots.coverage, comparison)
        figures["calibration"] = partial(plots.calibration_curves, results, models)
    if any(model["cost"]["train_seconds"] is not None for model in comparison["models"].values()):
        figures["accuracy_over_cost"] = partial(plots.accuracy_over_cost, comparison)
    if any("val_mae_K" in history for history in results.history.values()):
        figures["training_curves"] = partial(plots.training_curves, results, models)
    return figures
