"""Compare all models of a results folder on the same test materials.

    python compare_models.py --results-dir results --ensemble

reads every `<model>_predictions.csv` there and writes `comparison.{json,md,html}` and `plots/` beside them.

    python compare_models.py --runs 'results/seed*' --results-dir results/seeds

compares the same models over several runs (training seeds, or folds),

    python compare_models.py --mean-of 'results/seed*' --model alignn --results-dir results/mean

writes the mean of one model's trainings on the same splits as a model of its own, and

    python compare_models.py --results-dir results --update-readme README.md

puts the table of an earlier comparison into the README.
"""

from dataclasses import dataclass
from pathlib import Path

from comparison.bootstrap import IntervalMethod
from comparison.ensemble import with_ensembles, write_ensembles
from comparison.evaluate import Cluster, Uncertainty, evaluate
from comparison.gather import gather
from comparison.mean import alone_mae_K, mean_of_trainings, write_mean
from comparison.published.readme import update_readme
from comparison.repeats import read_runs, score_runs, summarise
from comparison.report.documents import runs_terminal, terminal
from comparison.report.write import write_comparison, write_runs
from comparison.wording import display, number
from tc_common.cli import parse, run
from tc_common.predictions import MODEL_NAME_RULE, is_model_name


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Settings of the comparison."""

    results_dir: Path = Path("results")
    """Folder with <model>_predictions.csv; the comparison is written there too."""
    data_dir: Path | None = None
    """Folder of the split files (default: data/processed, if it holds these materials)."""
    limit: int | None = None
    """The models were trained with this --limit (materials per split, >= 1)."""
    resamples: int = 10_000
    """Bootstrap resamples (>= 100)."""
    interval: IntervalMethod = "bca"
    """Kind of bootstrap interval."""
    level: float = 0.95
    """Confidence of the intervals (0.5 to 0.999)."""
    cluster: Cluster = "material"
    """What is resampled: single materials, or whole chemical systems."""
    weighted: bool = False
    """Count each material with the weight of its split file."""
    ensemble: bool = False
    """Also combine all models that have validation predictions, by weights fitted on those."""
    stacked_ridge: bool = False
    """With --ensemble: also combine them by ridge regression."""
    equal_weights: bool = False
    """With --ensemble: also combine them by their plain mean."""
    coverage: float = 0.9
    """Share of materials that prediction intervals shall hold (0.5 to 0.99)."""
    seed: int = 42
    """Seed of the resamples (>= 0)."""
    runs: str | None = None
    """Compare over the result folders that this pattern matches, e.g. 'results/seed*'."""
    mean_of: str | None = None
    """Only average --model over the result folders that this pattern matches, into --results-dir."""
    model: str | None = None
    """Model that --mean-of averages, e.g. alignn."""
    name: str | None = None
    """Name of the mean: beginning of its files' names (default: --model)."""
    update_readme: Path | None = None
    """Only put the table of <results-dir>/comparison.json between the markers of this file."""

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"--resamples must be at least 100, got {self.resamples}")
        if not 0.5 <= self.level <= 0.999:
            raise ValueError(f"--level must lie between 0.5 and 0.999, got {self.level}")
        if not 0.5 <= self.coverage <= 0.99:
            raise ValueError(f"--coverage must lie between 0.5 and 0.99, got {self.coverage}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {self.limit}")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        for name in ("stacked_ridge", "equal_weights"):
            if getattr(self, name) and not self.ensemble:
                raise ValueError(f"--{name.replace('_', '-')} goes with --ensemble")
        if (self.mean_of is None) != (self.model is None):
            raise ValueError("--mean-of and --model go together")
        if self.name is not None and (self.model is None or not is_model_name(self.name)):
            raise ValueError(f"--name goes with --mean-of and must be {MODEL_NAME_RULE}, got {self.name!r}")
        for name in ("runs", "ensemble", "weighted", "update_readme"):
            if self.mean_of and getattr(self, name):
                raise ValueError(f"--{name.replace('_', '-')} does not go with --mean-of")
        for name in ("data_dir", "limit", "ensemble", "weighted"):
            if self.runs and getattr(self, name):
                raise ValueError(f"--{name.replace('_', '-')} does not go with --runs")

    def uncertainty(self) -> Uncertainty:
        """How intervals are made."""
        return Uncertainty(
            resamples=self.resamples, method=self.interval, level=self.level, cluster=self.cluster, seed=self.seed
        )


def compare_folder(config: CompareConfig) -> None:
    """Compare the models of one results folder."""
    results = gather(config.results_dir, config.data_dir, config.limit)
    if config.ensemble:
        names = ["ensemble", *["ensemble_ridge"] * config.stacked_ridge, *["ensemble_equal"] * config.equal_weights]
        results = with_ensembles(results, names, config.seed)
        write_ensembles(results, config.results_dir, config.coverage)
    comparison = evaluate(results, config.uncertainty(), config.coverage, config.weighted)
    written = write_comparison(config.results_dir, results, comparison)
    print(terminal(comparison))
    print("\nwrote " + "\n      ".join(map(str, written)))


def compare_runs(config: CompareConfig, pattern: str) -> None:
    """Compare the models over several results folders."""
    runs, same_materials = score_runs(read_runs(pattern))
    comparison = summarise(runs, same_materials, config.level)
    written = write_runs(config.results_dir, runs, comparison)
    print(runs_terminal(comparison))
    print("\nwrote " + "\n      ".join(map(str, written)))


def average(config: CompareConfig, pattern: str, model: str) -> None:
    """Make one model of several trainings."""
    name = config.name or model
    trainings = mean_of_trainings(pattern, model, config.data_dir, config.limit, config.results_dir)
    metrics = write_mean(trainings, model, name, config.results_dir, config.coverage)
    single = ", ".join(number(alone_mae_K(training, model)) for training in trainings.values())
    print(f"{display(name, metrics['init'])}: test MAE {number(metrics['mae_K'])} K; the trainings alone: {single} K")


def main() -> None:
    """Parse, compare, print."""
    config = parse(CompareConfig, prog="compare_models.py", description="Compare the models of a results folder.")
    if config.update_readme:
        print(f"{config.update_readme}: {update_readme(config.update_readme, config.results_dir)}")
    elif config.mean_of and config.model:
        average(config, config.mean_of, config.model)
    elif config.runs:
        compare_runs(config, config.runs)
    else:
        compare_folder(config)


if __name__ == "__main__":
    run(main)
