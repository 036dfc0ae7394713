"""Published numbers beside ours, with what forbids to compare them."""

from pathlib import Path

import pandas as pd

from comparison.wording import number
from tc_common.files import read_csv

LITERATURE = Path(__file__).parent / "literature.csv"
COLUMNS = (
    "study", "year", "method", "input", "data", "size", "split", "mae_K", "rmse_K", "r2", "msle", "doi", "comparison",
)  # fmt: skip
HEAD = ["study", "method (input)", "data, size", "split", "MAE (K)", "RMSE (K)", "R²", "MSLE", "doi", "comparison"]


def read_literature(path: Path = LITERATURE) -> pd.DataFrame:
    """Published results as published; a number that the study does not give is NaN."""
    return read_csv(path, COLUMNS, "git checkout comparison/literature.csv")


def literature_rows(table: pd.DataFrame) -> list[list[str]]:
    """Head and one row per published result."""
    return [HEAD] + [
        [
            f"{row.study} {row.year}",
            f"{row.method} ({row.input})",
            f"{row.data}, {row.size:,.0f}" if pd.notna(row.size) else str(row.data),
            str(row.split),
            *(
                number(value, digits)
                for value, digits in ((row.mae_K, 2), (row.rmse_K, 2), (row.r2, 2), (row.msle, 3))
            ),
            f"doi:{row.doi}",
            str(row.comparison),
        ]
        for row in (table.assign(size=pd.to_numeric(table["size"]))).itertuples()
    ]
