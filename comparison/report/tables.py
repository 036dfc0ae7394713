"""The comparison as plain text: tables for the terminal (100 columns) and `comparison.md`."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from comparison.formatting import NOT_KNOWN, display, number
from tc_common.files import read_csv

WIDTH = 100
Rows = list[list[str]]


def with_interval(model: dict[str, Any], metric: str, digits: int = 2) -> str:
    """`4.85 [4.40, 5.31]`."""
    low, high = model["interval"][metric]
    return f"{number(model['score'][metric], digits)} [{number(low, digits)}, {number(high, digits)}]"


def score_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: MAE, RMSE, R² with intervals, skill."""
    head = ["model", "MAE (K)", "RMSE (K)", "R²", "skill"]
    return [head] + [
        [display(name, model["init"]), *(with_interval(model, metric) for metric in ("mae_K", "rmse_K", "r2"))]
        + [number(model["score"]["skill"])]
        for name, model in comparison["models"].items()
    ]


def main_rows(comparison: dict[str, Any]) -> Rows:
    """The table of scores: that of the models, or that over runs."""
    return run_rows(comparison) if "runs" in comparison else score_rows(comparison)


def further_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: the other numbers, and those of the superconductors (Tc > 0) alone."""
    head = ["model", "MSLE", "median |error|", "bias ± SD (K)", "Pearson", "Spearman", "MAE, Tc > 0 (K)", "R², Tc > 0"]
    rows = [head]
    for name, model in comparison["models"].items():
        score, positive = model["score"], model["superconductors"]
        spread = f"{number(score['bias_K'], sign=True)} ± {number(score['residual_sd_K'])}"
        rows.append(
            [display(name), number(score["msle"], 3), number(score["median_absolute_error_K"]), spread]
            + [number(score["pearson"]), number(score["spearman"])]
            + [number(positive.get("mae_K")), number(positive.get("r2"))]
        )
    return rows


def group_rows(comparison: dict[str, Any], key: str) -> Rows:
    """Head and one row per model: MAE (and bias) in each group; `key` is `by_range` or `by_family`."""
    models = comparison["models"]
    head = ["MAE (bias), K", *(f"{row['group']}, n={row['n']}" for row in next(iter(models.values()))[key])]
    return [head] + [[display(name), *map(_error_cell, model[key])] for name, model in models.items()]


def family_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per family: count, then MAE (bias) of every model, part of the best one's error."""
    models = comparison["models"]
    best = next(iter(models))
    rows = [["family", "n", *map(display, models), f"share of error, {display(best)}"]]
    for groups in zip(*(model["by_family"] for model in models.values()), strict=True):
        first = groups[0]
        cells = [*map(_error_cell, groups), f"{100 * first['error_share']:.0f} %"]
        rows.append([first["group"], str(first["n"]), *cells])
    return rows


def _error_cell(group: dict[str, Any]) -> str:
    return f"{number(group['mae_K'])} ({number(group['bias_K'], sign=True)})"


def calibrations(comparison: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Calibration of each model that has prediction intervals."""
    return {name: model["calibration"] for name, model in comparison["models"].items() if model["calibration"]}


def coverage_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model that has intervals: coverage (mean width) overall and by range of Tc."""
    groups = {name: [found["overall"], *found["by_range"]] for name, found in calibrations(comparison).items()}
    head = ["coverage (mean width)", *(row["group"] for row in next(iter(groups.values()), []))]
    return [head] + [[display(name), *map(_coverage_cell, rows)] for name, rows in groups.items()]


def family_coverage_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per family: count, then coverage (mean width) of every model that has intervals."""
    calibrated = calibrations(comparison)
    rows = [["family", "n", *map(display, calibrated)]]
    for groups in zip(*(found["by_family"] for found in calibrated.values()), strict=True):
        rows.append([groups[0]["group"], str(groups[0]["n"]), *map(_coverage_cell, groups)])
    return rows


def further_tests(comparison: dict[str, Any], test: str) -> dict[str, dict[str, Any]]:
    """Numbers of each model that predicted a further test (`comparison.further`)."""
    models = comparison["models"].items()
    return {name: model["further"][test] for name, model in models if test in model.get("further", {})}


def other_structures_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: errors on other and on chosen structures of the same compositions, their ratio."""
    rows = [["model", "others (K)", "chosen (K)", "ratio", "ratio, Tc > 20 K", "spread (K)", "coverage (mean width)"]]
    for name, found in further_tests(comparison, "other_structures").items():
        errors = [number(found["all"][key]) for key in ("mae_K", "chosen_mae_K", "ratio")]
        numbers = [*errors, number(found["above_20_K"].get("ratio")), number(found["spread_K"])]
        rows.append([display(name), *numbers, _covered(found["all"])])
    return rows


def crystals_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: MAE on crystals from the literature, by what is known of them, and coverage."""
    rows = [["model", "all (K)", "composition known (K)", "new (K)", "cuprates (K)", "coverage (mean width)"]]
    for name, found in further_tests(comparison, "literature").items():
        groups = {row["group"]: row for row in [*found["groups"], *found["by_family"]]}
        cells = [_counted(groups.get(group)) for group in ("all", "known", "new", "cuprate")]
        rows.append([display(name), *cells, _covered(groups["all"])])
    return rows


def crystals_family_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per family of the crystals from the literature: count, MAE (bias) of every model."""
    found = further_tests(comparison, "literature")
    rows = [["family", "n", *map(display, found)]]
    for groups in zip(*(model["by_family"] for model in found.values()), strict=True):
        rows.append([groups[0]["group"], str(groups[0]["n"]), *map(_error_cell, groups)])
    return rows


def _counted(group: dict[str, Any] | None) -> str:
    return NOT_KNOWN if group is None else f"{number(group['mae_K'])} (n={group['n']})"


def _covered(group: dict[str, Any]) -> str:
    return _coverage_cell(group) if "coverage" in group else NOT_KNOWN


def _coverage_cell(group: dict[str, Any]) -> str:
    return f"{100 * group['coverage']:.0f} % ({number(group['mean_width_K'], 1)} K)"


def miss_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per material that the best model misses by most."""
    models = list(comparison["models"])
    head = ["formula", "family", "Tc (K)", *(f"{display(name)} (K)" for name in models)]
    return [head] + [
        [row["formula"], row["family"], number(row["tc"], 1), *(number(row["tc_pred"][name], 1) for name in models)]
        for row in comparison["worst"]
    ]


def compression_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: how far its predictions are pulled together, and where its weights came from."""
    head = ["model", "SD of predictions / SD of Tc", "slope of predictions over Tc", "weights from"]
    return [head] + [
        [display(name), number(model["compression"]["sd_ratio"]), number(model["compression"]["slope"])]
        + [model["init"] or NOT_KNOWN]
        for name, model in comparison["models"].items()
    ]


def run_rows(comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: mean ± SD over runs."""
    head = ["model", "MAE (K)", "RMSE (K)", "R²", "MSLE", "skill"]
    metrics = (("mae_K", 2), ("rmse_K", 2), ("r2", 3), ("msle", 3), ("skill", 3))
    return [head] + [
        [display(name)]
        + [
            f"{number(model[metric]['mean'], digits)} ± {number(model[metric]['sd'], digits)}"
            for metric, digits in metrics
        ]
        for name, model in comparison["models"].items()
    ]


def aligned(rows: Rows) -> str:
    """A table in columns, the first to the left, the others to the right; the first is cut to keep to `WIDTH`."""
    room = WIDTH - sum(2 + max(map(len, column)) for column in list(zip(*rows, strict=True))[1:])
    rows = [[_shortened(row[0], max(room, 8)), *row[1:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def unmarked(text: str) -> str:
    """Text in one line whose `&` and `<` are no HTML."""
    return " ".join(re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;").split())


def markdown_table(rows: Rows) -> str:
    """A table of GitHub's markdown; names and formulas from files cannot become markup."""
    escaped = [[unmarked(cell).replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [escaped[0], rule, *escaped[1:]])


def caption(comparison: dict[str, Any]) -> str:
    """Which materials, and what the brackets (over runs: ±) mean."""
    if "runs" in comparison:
        return _runs_caption(comparison)
    how = comparison["uncertainty"]
    drawn = "chemical systems" if how["cluster"] == "chemical-system" else "materials"
    counted = "weighted " if comparison["weighted"] else ""
    return (
        f"{comparison['n']} {counted}test materials; brackets: {100 * how['level']:g} % intervals "
        f"(BCa bootstrap over {drawn}, {how['resamples']:,} resamples)"
    )


def _runs_caption(comparison: dict[str, Any]) -> str:
    count, sizes = comparison["runs"], comparison["n"]
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    if comparison["same_materials"]:
        return f"{count} runs on the same {size} test materials; ± is the SD over runs (training seeds)"
    ratio = comparison["test_train_ratio"]
    corrected = (
        "not corrected for overlapping training sets (n_train is unknown)"
        if ratio is None
        else f"widened for overlapping training sets (test / training = {ratio:.2f})"
    )
    return f"{count} splits with {size} test materials each; ± is the SD over splits; paired intervals are {corrected}"


def conclusions(comparison: dict[str, Any]) -> list[str]:
    """One sentence per pair of models."""
    return [row["conclusion"] for row in comparison["differences"]]


def ensemble_sentences(comparison: dict[str, Any]) -> list[str]:
    """Models and weights of each ensemble."""
    sentences = []
    for name, facts in comparison["ensembles"].items():
        weights = facts.get("weights")
        parts = [f"{display(m)} {weights[m]:.2f}" if weights else display(m) for m in facts["models"]]
        left_out = ", ".join(display(model) for model in facts["left_out"])
        why = "without validation predictions" + ("" if weights else ", or no better than a constant there")
        tail = f"; {why}, hence left out: {left_out}" if left_out else ""
        others = facts.get("other_structures")
        more = f" and {others} other structures of them" if others else ""
        how = f"fitted on validation materials{more}" if weights else "all with the same weight"
        sentences.append(f"{display(name)}: {', '.join(parts)} ({how}{tail})")
    return sentences


LITERATURE = Path(__file__).parent / "literature.csv"
COLUMNS = (
    "study", "year", "method", "input", "data", "size", "split", "mae_K", "rmse_K", "r2", "msle", "doi", "comparison",
)  # fmt: skip
HEAD = [
    "study", "method (input)", "data, size", "split", "MAE (K)", "RMSE (K)", "R²", "MSLE", "skill", "source",
    "comparison",
]  # fmt: skip


def read_literature(path: Path = LITERATURE) -> pd.DataFrame:
    """Published results as published; a number that the study does not give is NaN."""
    return read_csv(path, COLUMNS, "git checkout comparison/literature.csv")


def literature_rows(table: pd.DataFrame) -> Rows:
    """One row per published result."""
    return [
        [
            f"{row.study} {row.year}",
            f"{row.method} ({row.input})",
            f"{row.data}, {row.size:,.0f}" if pd.notna(row.size) else str(row.data),
            str(row.split),
            *(
                number(value, digits)
                for value, digits in ((row.mae_K, 2), (row.rmse_K, 2), (row.r2, 2), (row.msle, 3))
            ),
            NOT_KNOWN,
            f"doi:{row.doi}",
            str(row.comparison),
        ]
        for row in (table.assign(size=pd.to_numeric(table["size"]))).itertuples()
    ]


def our_rows(comparison: dict[str, Any]) -> Rows:
    """One row per model of this comparison, with the means where it is one over runs."""
    rows = []
    for name, model in comparison["models"].items():
        scores = model["score"] if "score" in model else {metric: entry["mean"] for metric, entry in model.items()}
        digits = (("mae_K", 2), ("rmse_K", 2), ("r2", 2), ("msle", 3), ("skill", 2))
        numbers = [number(scores[metric], places) for metric, places in digits]
        rows.append(
            ["this comparison", display(name), "see above", "see above", *numbers, NOT_KNOWN, "with each other"]
        )
    return rows
