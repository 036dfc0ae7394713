"""Compare the models of a results folder on the same test materials.

    python compare_models.py --results-dir results --ensemble

reads every `<model>_predictions.csv` there and writes `comparison.{json,md,html}` and `plots/` into the same folder
(the command `models`, which may be left out). Three more commands:

    python compare_models.py runs 'results/seed*' --results-dir results/seeds             # over seeds or folds
    python compare_models.py mean 'results/seed*' --model alignn --results-dir results/mean   # a seed ensemble
    python compare_models.py readme README.md                       # fill the README's tables from comparison.json
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, subcommand

from comparison.ensemble import with_ensembles, write_ensembles
from comparison.evaluate import Cluster, Uncertainty, evaluate
from comparison.formatting import display, number
from comparison.gather import gather
from comparison.mean import alone_mae_K, mean_of_trainings, write_mean
from comparison.published.readme import update_readme
from comparison.repeats import read_runs, score_runs, summarise
from comparison.report.documents import terminal
from comparison.report.write import write_comparison, write_runs
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.results import ENDING

PUBLISHED = Path(__file__).resolve().parent / "results" / "3dsc" / "stratified" / "comparison.md"


@dataclass(frozen=True, kw_only=True)
class ModelsConfig:
    """Compare the models of one results folder."""

    results_dir: Path = Path("results")
    """Folder with <model>_predictions.csv; the comparison is written there too."""
    data_dir: Path | None = None
    """Folder of the split files (default: data/processed or the folder's splits.csv.gz, if of these materials)."""
    limit: int | None = None
    """The models were trained with this --limit (materials per split, >= 1)."""
    resamples: int = 10_000
    """Bootstrap resamples (>= 100)."""
    level: float = 0.95
    """Confidence of the intervals (0.5 to 0.999)."""
    cluster: Cluster = "material"
    """What is resampled: single materials, or whole chemical systems."""
    weighted: bool = False
    """Count each material with the weight of its split file."""
    ensemble: bool = False
    """Also combine all models that have validation predictions, by weights fitted on those."""
    equal_weights: bool = False
    """With --ensemble: also combine them by their plain mean."""
    coverage: float = 0.9
    """Nominal coverage of the prediction intervals (0.5 to 0.99)."""
    seed: int = 42
    """Seed of the resamples (>= 0)."""

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"--resamples must be at least 100, got {self.resamples}")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.equal_weights and not self.ensemble:
            raise ValueError("--equal-weights goes with --ensemble")
        _check_level(self.level)
        _check_coverage(self.coverage)
        _check_limit(self.limit)


@dataclass(frozen=True, kw_only=True)
class RunsConfig:
    """Compare the same models over several runs: training seeds, or splits (folds)."""

    pattern: Positional[str]
    """Result folders, e.g. 'results/seed*'."""
    results_dir: Path = Path("results")
    """Folder for the comparison."""
    level: float = 0.95
    """Confidence of the intervals (0.5 to 0.999)."""

    def __post_init__(self) -> None:
        _check_level(self.level)


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    """Average one model over trainings on the same splits (a seed ensemble), and write that as a model of its own."""

    pattern: Positional[str]
    """Result folders of the trainings, e.g. 'results/seed*'."""
    model: str
    """Model to average, e.g. alignn."""
    name: str | None = None
    """Name of the mean: beginning of its files' names (default: --model)."""
    results_dir: Path = Path("results")
    """Folder for the mean's predictions, metrics and settings."""
    data_dir: Path | None = None
    """Folder of the split files (default: data/processed or a folder's splits.csv.gz, if of these materials)."""
    limit: int | None = None
    """The models were trained with this --limit (materials per split, >= 1)."""
    coverage: float = 0.9
    """Nominal coverage of the prediction intervals (0.5 to 0.99)."""

    def __post_init__(self) -> None:
        if self.name is not None and not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")
        _check_coverage(self.coverage)
        _check_limit(self.limit)


@dataclass(frozen=True, kw_only=True)
class ReadmeConfig:
    """Fill the tables between the markers of a README from the comparison.json that they name."""

    file: Positional[Path] = Path("README.md")
    """The README."""
    results_dir: Path = Path("results")
    """Folder of comparison.json for a block that names none."""


def _check_level(level: float) -> None:
    if not 0.5 <= level <= 0.999:
        raise ValueError(f"--level must lie between 0.5 and 0.999, got {level}")


def _check_coverage(coverage: float) -> None:
    if not 0.5 <= coverage <= 0.99:
        raise ValueError(f"--coverage must lie between 0.5 and 0.99, got {coverage}")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, got {limit}")


def require_models(folder: Path) -> None:
    """Check that there is something to compare.

    Raises:
        UserError: nothing was trained yet; the line says where the published comparison is, and what to run.
    """
    if any(folder.glob(f"*{ENDING}")):
        return
    published = f"; the published comparison is {os.path.relpath(PUBLISHED)}" if PUBLISHED.is_file() else ""
    raise UserError(
        f"{folder} holds no <model>{ENDING}: nothing was trained there yet{published}; for one of your own run: "
        "python -m data.prepare, python -m baselines, python -m gat_pipeline.train, and this again "
        "(the whole study: python -m tools.study)"
    )


def compare_folder(config: ModelsConfig) -> None:
    """Compare the models of one results folder."""
    require_models(config.results_dir)
    results = gather(config.results_dir, config.data_dir, config.limit)
    if config.ensemble:
        names = ["ensemble", *["ensemble_equal"] * config.equal_weights]
        results = with_ensembles(results, names, config.seed)
        write_ensembles(results, config.results_dir, config.coverage)
    uncertainty = Uncertainty(resamples=config.resamples, level=config.level, cluster=config.cluster, seed=config.seed)
    comparison = evaluate(results, uncertainty, config.coverage, config.weighted)
    _report(terminal(comparison), write_comparison(config.results_dir, results, comparison))


def compare_runs(config: RunsConfig) -> None:
    """Compare the models over several results folders."""
    runs, same_materials = score_runs(read_runs(config.pattern))
    comparison = summarise(runs, same_materials, config.level)
    _report(terminal(comparison), write_runs(config.results_dir, runs, comparison))


def _report(text: str, written: list[Path]) -> None:
    print(text + "\n\nwrote " + "\n      ".join(map(str, written)))


def average(config: MeanConfig) -> None:
    """Write the mean of several trainings as one model."""
    name = config.name or config.model
    trainings = mean_of_trainings(config.pattern, config.model, config.data_dir, config.limit, config.results_dir)
    metrics = write_mean(trainings, config.model, name, config.results_dir, config.coverage)
    single = ", ".join(number(alone_mae_K(training, config.model)) for training in trainings.values())
    print(f"{display(name, metrics['init'])}: test MAE {number(metrics['mae_K'])} K; single trainings: {single} K")


def fill_readme(config: ReadmeConfig) -> None:
    """Fill the README's tables."""
    print(f"{config.file}: {update_readme(config.file, config.results_dir)}")


COMMANDS: dict[str, tuple[Any, Any]] = {
    "models": (ModelsConfig, compare_folder),
    "runs": (RunsConfig, compare_runs),
    "mean": (MeanConfig, average),
    "readme": (ReadmeConfig, fill_readme),
}
FORMER_FLAGS = {
    "--runs": "compare_models.py runs 'PATTERN'",
    "--mean-of": "compare_models.py mean 'PATTERN' --model MODEL",
    "--update-readme": "compare_models.py readme README.md",
}


def parsed(words: Sequence[str]) -> Any:
    """The settings of the command that `words` name; without a command, of `models`.

    Raises:
        UserError: a mistake in the command line, or a flag that has become a command.
    """
    for word in words:
        if command := FORMER_FLAGS.get(word.partition("=")[0]):
            raise UserError(f"{word.partition('=')[0]} has become a command of its own: {command}")
    plain = not words or words[0].startswith("-") and words[0] not in ("-h", "--help")
    if not plain and words[0] not in (*COMMANDS, "-h", "--help"):
        raise UserError(f"{words[0]!r} is no command of compare_models.py; take one of {', '.join(COMMANDS)}")
    named = [Annotated[config, subcommand(name)] for name, (config, _) in COMMANDS.items()]
    either: Any = named[0] | named[1] | named[2] | named[3]
    args = ["models", *words] if plain else list(words)
    return parse(either, prog="compare_models.py", description=__doc__ or "", args=args)


def main() -> None:
    """Parse, compare, print."""
    config = parsed(sys.argv[1:])
    next(act for kind, act in COMMANDS.values() if kind is type(config))(config)


if __name__ == "__main__":
    run(main)
