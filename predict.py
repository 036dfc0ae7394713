"""Predict the critical temperature Tc (K) of crystals, with a 90 % interval, from the models that the project ships.

    python predict.py data/sample/cifs/MgB2-AlB2.cif
    python predict.py folder_of_cifs --model ensemble --csv predictions.csv

A folder means all *.cif below it, in the order of their names. One row is printed for each file as soon as it is
predicted, with a warning where its composition or its graph is farther from the training set than 95 % of the training
materials are from their nearest neighbour. A file that cannot be read is a row with its reason; the others go on.

Exit status: 0 every file was predicted, 1 a file was not, 2 a mistake in the command (nothing is written).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pymatgen.core import Structure
from tqdm import tqdm
from tyro.conf import Positional

from gat_pipeline.allocator import tune_memory
from prediction.inputs import check_arguments, check_table, cif_files
from prediction.load import ModelName, load_predictor
from prediction.output import header, line, say, table
from prediction.stream import rows_of
from tc_common.cli import parse, run
from tc_common.crystals import read_crystal
from tc_common.reading import LimitedReader


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """What to predict, and with which model."""

    files: Positional[tuple[Path, ...]]
    """CIF files and folders of them; a named file may also be POSCAR, extended XYZ or pymatgen JSON, or end in .gz."""
    model: ModelName = "alignn"
    """alignn (graph network), dinov3 (vision), or ensemble (weighted mean; fits trees first, which takes seconds)."""
    csv: Path | None = None
    """Also write the rows to this table (Tc in K; percentiles from 0 to 1), whole or not at all."""
    models_dir: Path = Path(__file__).resolve().parent / "models/3dsc"
    """Folder of the shipped models."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    dinov3_checkpoint: Path | None = None
    """With --model dinov3: a vision model of your own (models/dino_best.pth) instead of a shipped one."""
    dinov3_val_predictions: Path | None = None
    """With --dinov3-checkpoint: its results/dinov3_val_predictions.csv (K), without which there are no intervals."""

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("name at least one CIF file or folder")
        if self.dinov3_checkpoint and self.model != "dinov3":
            raise ValueError("--dinov3-checkpoint goes with --model dinov3")
        if self.dinov3_val_predictions and not self.dinov3_checkpoint:
            raise ValueError("--dinov3-val-predictions goes with --dinov3-checkpoint")


def main() -> None:
    """Parse, predict, print; exit status 1 where a file could not be predicted."""
    config = parse(PredictConfig, prog="predict.py", description=__doc__ or "")
    tune_memory()
    check_arguments(config.files)
    if config.csv:
        check_table(config.csv, config.files)
    with LimitedReader(read_crystal) as read_file:  # its worker starts while the model is loaded
        failed, total = predict_files(config, read_file)
    if failed:
        print(f"{failed} of {total} files could not be predicted", file=sys.stderr)
        raise SystemExit(1)


def predict_files(config: PredictConfig, read_file: Callable[[Path], Structure]) -> tuple[int, int]:
    """Print a row for every file, and write it to the table; the number of failures and of files."""
    if config.model == "ensemble":
        print("reading the models and fitting trees to the training compositions …", file=sys.stderr)
    predictor = load_predictor(
        config.models_dir, config.model, config.device, config.dinov3_checkpoint, config.dinov3_val_predictions
    )
    if predictor.validation is None:
        print("no --dinov3-val-predictions, therefore no intervals", file=sys.stderr)
    failed = total = 0
    count = sum(1 for _ in cif_files(config.files)) if sys.stderr.isatty() else None
    with table(config.csv) as write:
        say(header())
        for row in tqdm(
            rows_of(predictor, cif_files(config.files), read_file), total=count, unit="file", leave=False, disable=None
        ):
            say(line(row))
            write(row)
            failed, total = failed + bool(row.error), total + 1
    return failed, total


if __name__ == "__main__":
    run(main)
