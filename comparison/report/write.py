"""Write a comparison: JSON, markdown, HTML page, figures, prediction intervals."""

from pathlib import Path
from typing import Any

import pandas as pd

from comparison.calibration import all_intervals
from comparison.gather import SPLITS_FILE, Results, write_kept_splits
from comparison.report.documents import markdown
from comparison.report.drawing import draw
from comparison.report.figures import Figures, figures_of, figures_of_runs
from comparison.report.page import page
from tc_common.files import plain, write_csv, write_json, write_text


def write_comparison(folder: Path, results: Results, comparison: dict[str, Any]) -> list[Path]:
    """Write every file of one comparison into `folder`; returns what was written."""
    comparison = plain(comparison)
    written = _write_report(folder, comparison, figures_of(folder, results, comparison))
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
    return [folder / "runs.csv", *_write_report(folder, comparison, figures_of_runs(runs, comparison))]


def _write_report(folder: Path, comparison: dict[str, Any], figures: Figures) -> list[Path]:
    """Write JSON, markdown, HTML and every figure as PNG."""
    images = {name: folder / "plots" / f"{name}.png" for name in figures.builders}
    drawn = {name: draw(build, images[name]) for name, build in figures.builders.items()}
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", markdown(comparison))
    write_text(folder / "comparison.html", page(comparison, drawn, figures.left_out))
    return [*(folder / f"comparison.{ending}" for ending in ("json", "md", "html")), *images.values()]
