"""Compare all models of a results folder on the same test materials.

    python compare_models.py --results-dir results

reads every `<model>_predictions.csv` there and writes `comparison.json`, `comparison.md` and `plots/` beside them.
"""

from dataclasses import dataclass
from pathlib import Path

from comparison.bootstrap import IntervalMethod
from comparison.evaluate import Cluster, Uncertainty, evaluate, plain
from comparison.gather import gather
from comparison.plots import parity, save_png
from comparison.text import markdown, terminal
from tc_common.cli import parse, run
from tc_common.files import write_json, write_text


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
    """What is drawn: single materials, or whole chemical systems."""
    weighted: bool = False
    """Count each material with the weight of its split file."""
    seed: int = 42
    """Seed of the resamples (>= 0)."""

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"--resamples must be at least 100, got {self.resamples}")
        if not 0.5 <= self.level <= 0.999:
            raise ValueError(f"--level must lie between 0.5 and 0.999, got {self.level}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {self.limit}")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")


def main() -> None:
    """Read, score, write, print."""
    config = parse(CompareConfig, prog="compare_models.py", description="Compare the models of a results folder.")
    results = gather(config.results_dir, config.data_dir, config.limit)
    uncertainty = Uncertainty(
        resamples=config.resamples,
        method=config.interval,
        level=config.level,
        cluster=config.cluster,
        seed=config.seed,
    )
    comparison = plain(evaluate(results, uncertainty, config.weighted))
    write_json(config.results_dir / "comparison.json", comparison)
    write_text(config.results_dir / "comparison.md", markdown(comparison))
    for model in results.test:
        save_png(parity(results, model), config.results_dir / "plots" / f"parity_{model}.png")
    print(terminal(comparison))
    print(f"\nwrote {config.results_dir}/comparison.json, comparison.md and plots/")


if __name__ == "__main__":
    run(main)
