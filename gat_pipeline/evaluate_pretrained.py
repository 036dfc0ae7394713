"""Zero-shot study: predict the test split with weights that were not trained on the training split.

    python -m gat_pipeline.evaluate_pretrained                                   # the shipped weights
    python -m gat_pipeline.evaluate_pretrained --weights jv_supercon_tc_alignn   # the published ones (download)

Writes `results/pretrained_alignn_{predictions,val_predictions}.csv`, `pretrained_alignn_metrics.json`,
`pretrained_alignn_analysis.json`, predictions of the further tests (`tc_common.further`) and, where the weights' card
states their training distribution, two plots.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gat_pipeline.allocator import tune_memory
from gat_pipeline.dataset import GraphDataset
from gat_pipeline.inference import predict_all, predict_further
from gat_pipeline.model import AlignnTc, model_of
from gat_pipeline.published import PUBLISHED
from gat_pipeline.weights import Weights, find_weights
from gat_pipeline.zero_shot import analyse, compare_distributions, distribution, plot_elements, plot_tc
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.results import metrics_of, write_further, write_results
from tc_common.splits import read_splits

NAME = "pretrained_alignn"


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Settings of the zero-shot study."""

    weights: str = "pretrained"
    """pretrained (shipped), jv_supercon_tc_alignn, tc_supercon_radius, alex_supercon_Tc (downloaded), or a file."""
    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    models_dir: Path = Path("models")
    """Folder for downloads."""
    results_dir: Path = Path("results")
    """Folder for predictions, metrics, analysis and plots."""
    cache_dir: Path = Path("data/cache/graphs")
    """Folder for built graphs."""
    batch_size: int = 32
    """Crystals computed at once (>= 1)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    limit: int | None = None
    """Use only N materials of each split, the same ones in every run (>= 1)."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("--batch-size and --limit must be at least 1")


def main(config: ZeroShotConfig) -> None:
    """Predict, score, analyse, draw."""
    set_up_log(None)
    tune_memory()
    splits = read_splits(config.data_dir, config.limit)
    weights = trained_on_tc(config.weights, config.models_dir / "downloads")
    model = model_of(weights).to(place(config.device, "fp32").device)
    predicted = {"val": predict(config, model, splits["val"])}
    started = time.monotonic()
    predicted["test"] = test = predict(config, model, splits["test"])
    known = known_metrics(model, weights, (time.monotonic() - started) / len(test))
    write_results(config.results_dir, NAME, predicted, metrics_of(NAME, splits, predicted, known))
    write_further(config.results_dir, NAME, predict_further(model, config, splits))
    analysis = analyse(test["tc"].to_numpy(), test["tc_pred"].to_numpy())
    analysis["distributions"] = study_distributions(config, weights, splits["test"])
    write_json(config.results_dir / f"{NAME}_analysis.json", analysis)
    log.info(summary(analysis))


def trained_on_tc(name: str, download_dir: Path) -> Weights:
    """Weights whose head predicts Tc in kelvin.

    Raises:
        UserError: there are none, or they predict something else.
    """
    if name in PUBLISHED and not PUBLISHED[name].property.startswith("Tc"):
        raise UserError(f"--weights {name} predicts {PUBLISHED[name].property}, not Tc; it can only be fine-tuned")
    weights = find_weights(name, download_dir)
    if weights is None:
        raise UserError("--weights random predicts nothing; name weights that were trained on Tc")
    return weights


def predict(config: ZeroShotConfig, model: AlignnTc, materials: pd.DataFrame) -> pd.DataFrame:
    """Predictions of one split."""
    dataset = GraphDataset(materials, model.options, config.cache_dir)
    return materials[["material_id", "formula", "tc"]].assign(tc_pred=predict_all(model, dataset, config.batch_size))


def known_metrics(model: AlignnTc, weights: Weights, seconds_per_sample: float) -> dict[str, Any]:
    """What only the model knows; nothing was trained, so there is neither a seed nor a time."""
    parameters = list(model.parameters())
    return {
        "seeds": [],
        "init": weights.origin,
        "device": str(parameters[0].device),
        "train_seconds": 0.0,
        "inference_ms_per_sample": round(1000 * seconds_per_sample, 3),
        "parameters": sum(parameter.numel() for parameter in parameters),
    }


def study_distributions(config: ZeroShotConfig, weights: Weights, test: pd.DataFrame) -> dict[str, Any] | None:
    """Training distribution of the weights against the test set, with two plots; None where no card states it."""
    if weights.training is None:
        log.info(f"{weights.origin} has no card that states its training data: distributions are not compared")
        return None
    tested = distribution(test)
    plots = config.results_dir / "plots"
    plot_tc(plots / f"{NAME}_tc.png", weights.training, tested)
    plot_elements(plots / f"{NAME}_elements.png", weights.training, tested)
    return {
        "training": weights.training,
        "test": tested,
        "comparison": compare_distributions(weights.training, tested),
    }


def summary(analysis: dict[str, Any]) -> str:
    """The analysis in a few lines."""
    measured, predicted = analysis["measured"], analysis["predicted"]
    lines = [f"{'':12}{'range (K)':>16}{'mean':>8}{'SD':>8}{'> 20 K':>9}{'> 40 K':>9}"]
    for name, side in (("measured", measured), ("predicted", predicted)):
        extent = f"{side['least_K']:.1f} to {side['most_K']:.1f}"
        shares = f"{side['share_above_20_K']:>9.1%}{side['share_above_40_K']:>9.1%}"
        lines.append(f"{name:12}{extent:>16}{side['mean_K']:>8.1f}{side['sd_K']:>8.1f}{shares}")
    ratio, r = _number(analysis["variance_ratio"]), _number(analysis["pearson_above_40_K"])
    lines.append(f"variance of predictions / measurements {ratio}, bias {analysis['bias_K']:+.1f} K, r above 40 K {r}")
    return "\n".join([*lines, *map(_range_line, analysis["ranges"])])


def _range_line(row: dict[str, Any]) -> str:
    low, high = row["above_K"], row["up_to_K"]
    name = "0 K" if low is None else f"> {low:g} K" if high is None else f"{low:g} to {high:g} K"
    errors = f"MAE {row['mae_K']:6.1f} K  bias {row['bias_K']:+6.1f} K  {row['share_of_error']:6.1%} of the error"
    return f"{name:12} n {row['n']:<5} {errors}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    run(lambda: main(parse(ZeroShotConfig, prog="python -m gat_pipeline.evaluate_pretrained", description=__doc__)))
