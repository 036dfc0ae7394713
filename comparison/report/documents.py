"""The report's contents, and its two plain forms: terminal and markdown."""

from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from comparison.evaluate import cost_rows
from comparison.formatting import display
from comparison.report.tables import (
    HEAD,
    WIDTH,
    Rows,
    aligned,
    caption,
    compression_rows,
    conclusions,
    coverage_rows,
    ensemble_sentences,
    family_coverage_rows,
    family_rows,
    further_rows,
    group_rows,
    literature_rows,
    markdown_table,
    miss_rows,
    our_rows,
    read_literature,
    run_rows,
    runs_caption,
    score_rows,
    unmarked,
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report; what is empty is left out."""

    heading: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Rows] = field(default_factory=list)
    figures: tuple[str, ...] = ()
    """Names (or beginnings of names) of the figures that belong here."""
    remark: str = ""


def sections(comparison: dict[str, Any]) -> list[Section]:
    """The parts of a comparison, in reading order."""
    best = display(next(iter(comparison["models"])))
    parts = [
        Section(heading="Scores", tables=[score_rows(comparison), further_rows(comparison)], figures=("parity",)),
        Section(
            heading="Paired differences in MAE",
            sentences=conclusions(comparison),
            remark="Same resampled materials for both models of a pair; p corrected by Holm for the number of pairs.",
        ),
        Section(
            heading="Error by range of Tc and family",
            tables=[group_rows(comparison, "by_range"), family_rows(comparison)],
            figures=("error_by_range", "error_by_family", "residuals", "cumulative_error", "error_map"),
        ),
        Section(
            heading="Prediction intervals",
            sentences=_calibration_sentences(comparison),
            tables=[coverage_rows(comparison), family_coverage_rows(comparison)],
            figures=("coverage", "calibration"),
            remark=(
                "Split-conformal on validation residuals; the nominal coverage presumes that test and validation "
                "materials are exchangeable. Brackets: 95 % Clopper–Pearson intervals of the empirical coverage."
            ),
        ),
        Section(
            heading="Compression",
            tables=[compression_rows(comparison)],
            figures=("compression",),
            remark="1 and 1 for a perfect model, 0 and 0 for a constant one.",
        ),
        Section(heading="Cost", tables=[cost_rows(comparison)], figures=("accuracy_over_cost", "training_curves")),
        Section(heading="Ensemble", sentences=ensemble_sentences(comparison)),
        Section(heading=f"Worst misses of {best}", tables=[miss_rows(comparison)]),
        literature_section(comparison),
    ]
    return [_without_empty(part) for part in parts if part.sentences or any(len(rows) > 1 for rows in part.tables)]


def literature_section(comparison: dict[str, Any]) -> Section:
    """Published results and ours, and why they may not be ranked together."""
    return Section(
        heading="Literature",
        tables=[[HEAD, *our_rows(comparison), *literature_rows(read_literature())]],
        remark=(
            "As published. Numbers of other data or other splits say nothing about ours; skill "
            "(1 − MAE / MAE of the training median) would travel, but these studies do not state that error."
        ),
    )


def _without_empty(part: Section) -> Section:
    tables = [rows for rows in part.tables if len(rows) > 1]
    return Section(**{**vars(part), "tables": tables})


def _calibration_sentences(comparison: dict[str, Any]) -> list[str]:
    return [model["calibration"]["conclusion"] for model in comparison["models"].values() if model["calibration"]]


def terminal(comparison: dict[str, Any]) -> str:
    """What `compare_models.py` prints."""
    parts = [
        fill(caption(comparison), WIDTH),
        aligned(score_rows(comparison)),
        aligned(group_rows(comparison, "by_range")),
    ]
    for heading, sentences in (
        ("Paired differences in MAE:", conclusions(comparison)),
        ("Prediction intervals:", _calibration_sentences(comparison)),
        ("Ensemble:", ensemble_sentences(comparison)),
    ):
        parts += [_listed(heading, sentences)] if sentences else []
    parts += ["\n".join(f"note: {note}" for note in comparison["notes"])] if comparison["notes"] else []
    return "\n\n".join(parts)


def _listed(heading: str, sentences: list[str]) -> str:
    """Sentences as a list under a heading, wrapped to the terminal's columns."""
    return "\n".join([heading, *(fill(f"- {sentence}", WIDTH, subsequent_indent="  ") for sentence in sentences)])


def markdown(comparison: dict[str, Any]) -> str:
    """Content of `comparison.md`."""
    parts = ["# Comparison", caption(comparison) + ".", *comparison["notes"]]
    for part in sections(comparison):
        parts += _markdown_section(part)
    return "\n\n".join(parts) + "\n"


def _markdown_section(part: Section) -> list[str]:
    sentences = ["\n".join(f"- {unmarked(sentence)}" for sentence in part.sentences)] if part.sentences else []
    remark = [part.remark] if part.remark else []
    return [f"## {unmarked(part.heading)}", *sentences, *map(markdown_table, part.tables), *remark]


def runs_terminal(comparison: dict[str, Any]) -> str:
    """What `compare_models.py runs` prints."""
    found = conclusions(comparison)
    pairs = [_listed("Paired differences in MAE:", found)] if found else []
    return "\n\n".join([fill(runs_caption(comparison), WIDTH), aligned(run_rows(comparison)), *pairs])


def runs_sections(comparison: dict[str, Any]) -> list[Section]:
    """The parts of a comparison over runs."""
    parts = [
        Section(heading="Scores over runs", tables=[run_rows(comparison)], figures=("runs",)),
        Section(
            heading="Paired differences in MAE",
            sentences=conclusions(comparison),
            remark="Paired over runs (t), p corrected by Holm for the number of pairs.",
        ),
        literature_section(comparison),
    ]
    return [_without_empty(part) for part in parts if part.sentences or part.tables]


def runs_markdown(comparison: dict[str, Any]) -> str:
    """Content of `comparison.md` of several runs."""
    parts = ["# Comparison over runs", runs_caption(comparison) + "."]
    for part in runs_sections(comparison):
        parts += _markdown_section(part)
    return "\n\n".join(parts) + "\n"
