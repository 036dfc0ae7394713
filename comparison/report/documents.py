"""The report's contents, and its two plain forms: terminal and markdown."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from textwrap import fill
from typing import Any

from comparison.evaluate import cost_rows
from comparison.formatting import display
from comparison.report.tables import (
    HEAD,
    WIDTH,
    Rows,
    aligned,
    calibrations,
    caption,
    compression_rows,
    conclusions,
    coverage_rows,
    crystals_family_rows,
    crystals_rows,
    ensemble_sentences,
    family_coverage_rows,
    family_rows,
    further_rows,
    group_rows,
    literature_rows,
    main_rows,
    markdown_table,
    miss_rows,
    other_structures_rows,
    our_rows,
    read_literature,
    run_rows,
    score_rows,
    unmarked,
)
from comparison.report.verdict import verdict


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report; what is empty is left out."""

    heading: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Rows] = field(default_factory=list)
    figures: tuple[str, ...] = ()
    """Names of the figures that belong here."""
    remark: str = ""


def sections(comparison: dict[str, Any], drawn: Iterable[str] = ()) -> list[Section]:
    """The parts of a comparison, in reading order; what is empty is left out.

    Args:
        drawn: names of the figures that there are, where the form can show any.
    """
    parts = _run_sections(comparison) if "runs" in comparison else _model_sections(comparison)
    parts = [*(_filled(part, list(drawn)) for part in parts), literature_section(comparison)]
    return [part for part in parts if part.sentences or part.tables or part.figures]


def _filled(part: Section, drawn: list[str]) -> Section:
    """A section with the tables that have rows and the figures that are drawn."""
    tables = [rows for rows in part.tables if len(rows) > 1]
    return replace(part, tables=tables, figures=tuple(name for name in part.figures if name in drawn))


def _run_sections(comparison: dict[str, Any]) -> list[Section]:
    return [
        Section(
            heading="Scores over runs",
            tables=[run_rows(comparison)],
            figures=("runs", "forest", "differences", "learning_curve"),
        ),
        Section(
            heading="Paired differences in MAE",
            sentences=conclusions(comparison),
            remark="Paired over runs (t), p corrected by Holm for the number of pairs.",
        ),
    ]


def _model_sections(comparison: dict[str, Any]) -> list[Section]:
    first = next(iter(comparison["models"]))
    return [
        Section(
            heading="Scores",
            tables=[score_rows(comparison), further_rows(comparison)],
            figures=("forest", "differences"),
        ),
        Section(
            heading="Paired differences in MAE",
            sentences=conclusions(comparison),
            remark="Same resampled materials for both models of a pair; p corrected by Holm for the number of pairs.",
        ),
        *_error_sections(comparison, first),
        *further_sections(comparison),
        Section(
            heading="Prediction intervals",
            sentences=coverage_conclusions(comparison),
            tables=[coverage_rows(comparison), family_coverage_rows(comparison)],
            figures=("coverage", "calibration", "rejection"),
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
        Section(heading=f"Worst misses of {display(first)}", tables=[miss_rows(comparison)]),
    ]


def _error_sections(comparison: dict[str, Any], best: str) -> list[Section]:
    """How predictions compare with measurements, and what the error depends on."""
    return [
        Section(
            heading="Predictions against measurements",
            figures=(f"parity_{best}", "parity", "residuals", "cumulative_error"),
        ),
        Section(
            heading="Error by range of Tc and family",
            tables=[group_rows(comparison, "by_range"), family_rows(comparison)],
            figures=("error_by_range", "error_by_family", f"error_map_{best}"),
        ),
        Section(
            heading="Error by distance to the training data and its size",
            figures=("error_by_distance", "learning_curve", "crystal_map"),
        ),
        Section(heading="Finding high Tc", figures=("precision_recall", "enrichment")),
        Section(heading="Doping series", figures=("domes",)),
    ]


def further_sections(comparison: dict[str, Any]) -> list[Section]:
    """Structures that the models were not chosen on: other files of the test compositions, and the literature's."""
    return [
        Section(
            heading="Other structures of the test compositions",
            tables=[other_structures_rows(comparison)],
            figures=("structure_spread",),
            remark=(
                "Same compositions, same Tc. Chosen: error of the composition's test structure, counted once for each "
                "of its other structures. Spread: mean difference between the predictions of two structures of one "
                "composition."
            ),
        ),
        Section(
            heading="Crystals from the literature",
            tables=[crystals_rows(comparison), crystals_family_rows(comparison)],
            remark=(
                "The shipped sample at ambient pressure. Known: the model was fitted on the composition, in "
                "another structure file."
            ),
        ),
    ]


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


def coverage_conclusions(comparison: dict[str, Any]) -> list[str]:
    """One sentence per model that has prediction intervals."""
    return [calibration["conclusion"] for calibration in calibrations(comparison).values()]


def terminal(comparison: dict[str, Any]) -> str:
    """What `compare_models.py` prints."""
    over_runs = "runs" in comparison
    tables = [main_rows(comparison)] + ([] if over_runs else [group_rows(comparison, "by_range")])
    parts = [*(fill(sentence, WIDTH) for sentence in verdict(comparison))]
    parts = ["\n".join(parts), fill(caption(comparison), WIDTH), *map(aligned, tables)]
    parts += _listed("Paired differences in MAE:", conclusions(comparison))
    if not over_runs:
        parts += [aligned(rows) for rows in (other_structures_rows(comparison),) if len(rows) > 1]
        parts += _listed("Prediction intervals:", coverage_conclusions(comparison))
        parts += _listed("Ensemble:", ensemble_sentences(comparison))
        parts += ["\n".join(f"note: {note}" for note in comparison["notes"])] if comparison["notes"] else []
    return "\n\n".join(parts)


def _listed(heading: str, sentences: list[str]) -> list[str]:
    """Sentences as a list under a heading, wrapped to the terminal's columns; nothing where there are none."""
    lines = [fill(f"- {sentence}", WIDTH, subsequent_indent="  ") for sentence in sentences]
    return ["\n".join([heading, *lines])] if lines else []


def title(comparison: dict[str, Any]) -> str:
    """Heading of the report."""
    return "Comparison over runs" if "runs" in comparison else "Comparison"


def markdown(comparison: dict[str, Any]) -> str:
    """Content of `comparison.md`."""
    parts = [f"# {title(comparison)}", "  \n".join(f"**{unmarked(each)}**" for each in verdict(comparison))]
    parts += [caption(comparison) + ".", *comparison.get("notes", [])]
    for part in sections(comparison):
        parts += [f"## {unmarked(part.heading)}"]
        parts += ["\n".join(f"- {unmarked(sentence)}" for sentence in part.sentences)] if part.sentences else []
        parts += [*map(markdown_table, part.tables), *[part.remark] * bool(part.remark)]
    return "\n\n".join(parts) + "\n"
