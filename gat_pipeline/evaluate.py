"""Predict the further tests with a trained network: other structures and crystals from the literature.

    python -m gat_pipeline.evaluate --checkpoint models/alignn_best.pth --results-dir results

Trainings do this at their end; this command does it for a checkpoint made before, or with another folder's
`other_structures.csv`. Writes `<name>_{other_structures,val_other_structures,literature}_predictions.csv`
(`tc_common.further`), in float32.
"""

from dataclasses import dataclass
from pathlib import Path

from gat_pipeline.add_retrieval import prior_for
from gat_pipeline.allocator import tune_memory
from gat_pipeline.inference import predict_further
from gat_pipeline.model import load_model
from tc_common.checkpoints import checkpoint_of
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import place
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.results import Tables, write_further
from tc_common.splits import read_splits


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings."""

    checkpoint: Path = Path("models/alignn_best.pth")
    """The trained network, with or without retrieval."""
    data_dir: Path = Path("data/processed")
    """Folder with the split files it was trained with (Tc in K) and other_structures.csv."""
    results_dir: Path = Path("results")
    """Folder for the predictions."""
    prior: Path | None = None
    """The prior that it was trained with, if it was."""
    name: str = "alignn"
    """Name of the model: beginning of its files' names."""
    cache_dir: Path = Path("data/cache/graphs")
    """Folder for built graphs."""
    batch_size: int = 32
    """Crystals computed at once (>= 1)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    limit: int | None = None
    """The network was trained with this --limit (materials per split, >= 1)."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("--batch-size and --limit must be at least 1")
        if not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")


def main(config: EvaluationConfig) -> None:
    """Load, predict, write, log one line a test."""
    set_up_log(None)
    tune_memory()
    splits = read_splits(config.data_dir, config.limit)
    content = checkpoint_of(config.checkpoint, config.data_dir, splits)
    prior = prior_for(content, config.prior, config.checkpoint, config.data_dir)
    model = load_model(config.checkpoint).to(place(config.device, "fp32").device)
    predicted = predict_further(model, config, splits, prior, content.get("learned", ()))
    write_further(config.results_dir, config.name, predicted)
    log.info(summary(predicted))


def summary(predicted: Tables) -> str:
    """Materials and MAE (K) of each test."""
    errors_K = {test: (table["tc_pred"] - table["tc"]).abs() for test, table in predicted.items()}
    return "; ".join(f"{test}: n {len(error_K)}, MAE {error_K.mean():.3f} K" for test, error_K in errors_K.items())


if __name__ == "__main__":
    run(lambda: main(parse(EvaluationConfig, prog="python -m gat_pipeline.evaluate", description=__doc__ or "")))
