"""The comparison as plain text: a table for the terminal (100 columns) and `comparison.md`."""

from typing import Any

from comparison.verdicts import display

WIDTH = 100
NOT_KNOWN = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where it is not known; never `-0.00`."""
    if value is None or value != value:
        return NOT_KNOWN
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(model: dict[str, Any], metric: str, digits: int = 2) -> str:
    """`4.85 [4.40, 5.31]`."""
    low, high = model["interval"][metric]
    return f"{number(model['score'][metric], digits)} [{number(low, digits)}, {number(high, digits)}]"


def score_rows(comparison: dict[str, Any]) -> list[list[str]]:
    """Head and one row per model: MAE, RMSE, R² with intervals, skill."""
    head = ["model", "MAE (K)", "RMSE (K)", "R²", "skill"]
    return [head] + [
        [
            display(name),
            with_interval(model, "mae_K"),
            with_interval(model, "rmse_K"),
            with_interval(model, "r2"),
            number(model["score"]["skill"]),
        ]
        for name, model in comparison["models"].items()
    ]


def range_rows(comparison: dict[str, Any]) -> list[list[str]]:
    """Head and one row per model: MAE (and bias) in each range of Tc."""
    models = comparison["models"]
    groups = [(row["group"], row["n"]) for row in next(iter(models.values()))["by_range"]]
    head = ["MAE (bias), K"] + [f"{group}, n={count}" for group, count in groups]
    return [head] + [
        [display(name)] + [f"{number(row['mae_K'])} ({row['bias_K']:+.2f})" for row in model["by_range"]]
        for name, model in models.items()
    ]


def aligned(rows: list[list[str]]) -> str:
    """A table in columns of equal width, first one to the left, the others to the right, cut to `WIDTH`."""
    room = WIDTH - sum(2 + max(map(len, column)) for column in list(zip(*rows, strict=True))[1:])
    rows = [[_shortened(row[0], max(room, 8)), *row[1:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def markdown_table(rows: list[list[str]]) -> str:
    """A table of GitHub's markdown."""
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [escaped[0], rule, *escaped[1:]])


def caption(comparison: dict[str, Any]) -> str:
    """Which materials, and what the brackets mean."""
    how = comparison["uncertainty"]
    method = "BCa" if how["method"] == "bca" else "percentile"
    drawn = "chemical systems" if how["cluster"] == "chemical-system" else "materials"
    return (
        f"{comparison['n']} test materials; brackets: {100 * how['level']:g} % intervals "
        f"({method} bootstrap over {drawn}, {how['resamples']:,} resamples)"
    )


def terminal(comparison: dict[str, Any]) -> str:
    """What `compare_models.py` prints."""
    parts = [caption(comparison), aligned(score_rows(comparison)), aligned(range_rows(comparison))]
    verdicts = [f"- {row['verdict']}" for row in comparison["differences"]]
    if verdicts:
        parts.append("\n".join(["Paired differences in MAE:", *verdicts]))
    notes = [f"note: {note}" for note in comparison["notes"]]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def markdown(comparison: dict[str, Any]) -> str:
    """Content of `comparison.md`."""
    parts = [
        "# Comparison",
        caption(comparison) + ".",
        *comparison["notes"],
        markdown_table(score_rows(comparison)),
        "## Error by range of Tc",
        markdown_table(range_rows(comparison)),
    ]
    if comparison["differences"]:
        parts += [
            "## Paired differences in MAE",
            "\n".join(f"- {row['verdict']}" for row in comparison["differences"]),
        ]
    return "\n\n".join(parts) + "\n"
