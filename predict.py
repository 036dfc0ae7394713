"""Predict the critical temperature Tc (K) of crystals, with a 90 % interval, from the models that the project ships.

    python predict.py data/sample/cifs/MgB2-AlB2.cif
    python predict.py folder_of_cifs --csv predictions.csv
    python predict.py La2CuO4.cif --substitute La=Sr:0:0.15:16 --plot dome.png

A folder means all *.cif below it, in the order of their names; - is a file on standard input. One row is printed for
each file as soon as it is predicted: below it what was measured for this composition, the nearest known compounds, and
warnings. A file that cannot be read is a row with its reason; the others go on.

Exit status: 0 every file was predicted, 1 a file was not, 2 a mistake in the command (nothing is written), 143 stopped
by SIGTERM (the table of --csv holds the rows finished before).
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tc_common.cli import parse, run
from tc_common.extras import refuse_without_base

try:
    from tyro.conf import Positional
except ModuleNotFoundError as error:
    refuse_without_base(error)

if TYPE_CHECKING:
    from prediction import Predictor
    from prediction.inputs import ReadCrystal

# Everything else is imported where it is needed: `--help` waits for no torch.


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """What to predict, and with which model."""

    files: Positional[tuple[Path, ...]]
    """CIF files and folders of them, or - for standard input; a file that is named may also be POSCAR, extended XYZ or
    pymatgen JSON, or end in .gz."""
    model: Literal["ensemble", "alignn", "dinov3", "student"] = "ensemble"
    """ensemble (weighted mean of the shipped models), alignn (graph network alone) or dinov3 (vision alone)."""
    csv: Path | None = None
    """Also write the rows to this table (Tc in K), whole or not at all; with --substitute the series."""
    json: bool = False
    """Print one JSON object a line in place of the text."""
    substitute: str | None = None
    """Doping series of one crystal, OLD=NEW:FROM:TO:COUNT: fractions FROM to TO (0 to 1) of an element OLD, or of its
    sites (Cu2, Cu2+Cu3), are replaced by the element NEW (empty: by vacancies), such as La=Sr:0:0.15:16."""
    plot: Path | None = None
    """With --substitute: draw Tc (K) along the series (.png, .svg or .pdf)."""
    models_dir: Path = Path(__file__).resolve().parent / "models/3dsc"
    """Folder of the shipped models."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    checkpoint: Path | None = None
    """A network of your own training in place of the shipped models: .pth or .safetensors, of either pipeline."""
    val_predictions: Path | None = None
    """With --checkpoint: its results/<model>_val_predictions.csv (K), without which there are no intervals."""

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("name at least one CIF file or folder, or - for standard input")
        if self.checkpoint and self.model != "ensemble":
            raise ValueError("--checkpoint is a model itself; leave out --model")
        if self.val_predictions and not self.checkpoint:
            raise ValueError("--val-predictions goes with --checkpoint")
        if self.plot and not self.substitute:
            raise ValueError("--plot goes with --substitute")
        if self.substitute and len(self.files) > 1:
            raise ValueError("--substitute takes one crystal")


def main() -> None:
    """Parse, predict, print; exit status 1 where a file could not be predicted."""
    config = parse(PredictConfig, prog="predict.py", description=__doc__ or "")
    from prediction.inputs import limited_reading
    from tc_common.signals import leave_on_signals

    check(config)
    with leave_on_signals(), limited_reading() as read:  # its worker starts while the models are loaded
        predictor = load(config)
        failed, total = (predict_series if config.substitute else predict_files)(config, predictor, read)
    if failed:
        print(f"{failed} of {total} files could not be predicted", file=sys.stderr)
        raise SystemExit(1)


def check(config: PredictConfig) -> None:
    """Refuse, before anything is loaded, what cannot work.

    Raises:
        UserError: files that are not there, a table in the place of a crystal, no series.
    """
    from prediction.inputs import check_arguments, check_table

    check_arguments(config.files)
    for flag, path in (("--csv", config.csv), ("--plot", config.plot)):
        if path:
            check_table(path, config.files, flag)
    if config.substitute:
        from prediction.doping import checked, parse_series

        checked(parse_series(config.substitute)[2])
    if config.plot:
        from prediction.output import check_picture

        check_picture(config.plot)


def load(config: PredictConfig) -> "Predictor":
    """The predictor that the flags ask for."""
    from gat_pipeline.allocator import tune_memory
    from prediction import load_predictor

    tune_memory()
    predictor = load_predictor(
        config.models_dir,
        config.model,
        device=config.device,
        checkpoint=config.checkpoint,
        val_predictions=config.val_predictions,
    )
    if predictor.intervals is None:
        print("no --val-predictions, therefore no intervals", file=sys.stderr)
    return predictor


def predict_files(config: PredictConfig, predictor: "Predictor", read: "ReadCrystal") -> tuple[int, int]:
    """Print a row for every file, and write it to the table; the number of failures and of files."""
    from tqdm import tqdm

    from prediction.inputs import cif_files
    from prediction.output import as_json, header, line, say, table, width

    failed = total = 0
    columns = width()
    count = sum(1 for _ in cif_files(config.files)) if sys.stderr.isatty() else None
    with ExitStack() as stack:
        write = stack.enter_context(table(config.csv, predictor.members))
        if not config.json:
            say(header())
        names, items = crystals(cif_files(config.files))
        found = predictor.predict_many(items, names, read)
        for each in tqdm(found, total=count, unit="file", leave=False, disable=None):
            say(as_json(each) if config.json else line(each, columns))
            write(each)
            failed, total = failed + (each.error is not None), total + 1
    return failed, total


def crystals(files: Iterable[Path]) -> tuple[Iterator[str], Iterator[Any]]:
    """Names and what is to be read of files; of standard input its text."""
    from itertools import tee

    from prediction.inputs import STANDARD_INPUT, standard_input

    first, second = tee(files)
    names = ("standard input" if path == STANDARD_INPUT else str(path) for path in first)
    return names, (standard_input() if path == STANDARD_INPUT else path for path in second)


def predict_series(config: PredictConfig, predictor: "Predictor", read: "ReadCrystal") -> tuple[int, int]:
    """Print, write and draw a doping series; nothing fails alone in it."""
    from prediction.doping import parse_series
    from prediction.output import as_json, plot_series, say, series_lines, write_series

    assert config.substitute is not None
    _, items = crystals(config.files)
    series = predictor.substitute(read(next(items)), *parse_series(config.substitute))
    if config.csv:
        write_series(config.csv, series)
    if config.plot:
        plot_series(config.plot, series)
    for text in [as_json(series)] if config.json else series_lines(series):
        say(text)
    return 0, len(series.fractions)


if __name__ == "__main__":
    run(main)
