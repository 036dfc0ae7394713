"""Tabulate a transfer study: where the weights came from, and which part of the network was trained.

    python -m comparison.transfer results/3dsc/transfer

reads `<folder>/<start>_<tuned>/seed_<n>/` (metrics and predictions of one training each, such as `crystals_lora`) and
writes `transfer.csv` (a row a training) and `transfer.md` (a row a cell: mean over the seeds, SD where there are
several) into the folder.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tyro.conf import Positional

from comparison.formatting import NOT_KNOWN
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.files import read_csv, read_json, write_csv, write_text

MODEL = "dinov3"
# With `-palette` the head also reads the palette of the pictures.
ORDER = {"head": 0, "lora": 1, "full": 2, "head-palette": 3}
MEASURES = {
    "val_mae_K": "validation",
    "test_mae_K": "test",
    "other_structures_mae_K": "other structures",
    "literature_mae_K": "literature",
}


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Which study to tabulate."""

    folder: Positional[Path]
    """Folder with <start>_<tuned>/seed_<n>/ of each training; the tables are written there."""


def main(config: TransferConfig) -> None:
    """Read, write, print."""
    trainings = read_trainings(config.folder)
    table = as_table(trainings)
    write_csv(config.folder / "transfer.csv", trainings)
    write_text(config.folder / "transfer.md", f"{table}\n")
    print(table)


def read_trainings(folder: Path) -> pd.DataFrame:
    """One row for each training: start, what was tuned, seed, parameters trained, minutes, MAE (K) of four tests.

    A further test that no training has, as the data has none, is NaN.

    Raises:
        UserError: there is none, or one of them lacks a file that others have.
    """
    found = sorted(folder.glob(f"*_*/seed_*/{MODEL}_metrics.json"))
    if not found:
        raise UserError(f"{folder} has no <start>_<tuned>/seed_<n>/{MODEL}_metrics.json")
    table = pd.DataFrame([_read_training(path) for path in found])
    _require_same_tests(table, [path.parent for path in found])
    return table.sort_values(["tuned", "start", "seed"], key=_place, ignore_index=True)


def _require_same_tests(table: pd.DataFrame, folders: list[Path]) -> None:
    for name in MEASURES:
        missing = table[name].isna()
        if missing.any() and not missing.all():
            file = f"{MODEL}_{name.removesuffix('_mae_K')}_predictions.csv"
            raise UserError(f"{folders[int(missing.argmax())] / file} is missing, which others have; train it again")


def _place(column: pd.Series) -> pd.Series:
    return column.map(ORDER) if column.name == "tuned" else column


def _read_training(metrics_file: Path) -> dict[str, object]:
    metrics, folder = read_json(metrics_file), metrics_file.parent
    start, _, tuned = folder.parent.name.rpartition("_")
    if tuned not in ORDER:
        raise UserError(f"{folder.parent}: {tuned!r} is none of {', '.join(ORDER)}")
    return {
        "tuned": tuned,
        "start": start,
        "seed": int(folder.name.removeprefix("seed_")),
        "parameters_trained": metrics["trainable_parameters"],
        "minutes": round(metrics["train_seconds"] / 60, 1),
        "val_mae_K": metrics["val_mae_K"],
        "test_mae_K": metrics["mae_K"],
        "other_structures_mae_K": _mae_K(folder / f"{MODEL}_other_structures_predictions.csv"),
        "literature_mae_K": _mae_K(folder / f"{MODEL}_literature_predictions.csv"),
        "init": metrics["init"],
    }


def _mae_K(path: Path) -> float:
    if not path.exists():
        return float("nan")
    table = read_csv(path, ("tc", "tc_pred"), "python -m dinov3_pipeline.train")
    return float((table["tc_pred"] - table["tc"]).abs().mean())


def as_table(trainings: pd.DataFrame) -> str:
    """Markdown, a row for each cell."""
    heads = ["trained", "start", "seeds", "parameters", "minutes", *(f"{name}, K" for name in MEASURES.values())]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for (tuned, start), cell in trainings.groupby(["tuned", "start"], sort=False):
        errors = [_mean_and_spread(cell[name]) for name in MEASURES]
        sizes = [f"{len(cell)}", f"{cell['parameters_trained'].iloc[0]:,}", f"{cell['minutes'].mean():.0f}"]
        lines.append(f"| {' | '.join([str(tuned), str(start), *sizes, *errors])} |")
    return "\n".join(lines)


def _mean_and_spread(values: pd.Series) -> str:
    if values.isna().all():
        return NOT_KNOWN
    return f"{values.mean():.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    run(lambda: main(parse(TransferConfig, prog="python -m comparison.transfer", description=__doc__ or "")))
