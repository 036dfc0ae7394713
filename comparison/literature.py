"""Published numbers beside ours, with what forbids to compare them."""

from pathlib import Path
from typing import Any

import pandas as pd

from comparison.text import Rows
from comparison.wording import NOT_KNOWN, display, number
from tc_common.files import read_csv

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
