"""How long retrieval takes a crystal, beside scikit-learn's neighbours with the same weighted median.

    python -m benchmarks.retrieval_speed    # one core, seconds: as many stored vectors as the study trains on

Features are random, of the width that the shipped network has: the time does not depend on what they are. Processor
time, medians over the rounds. Writes `benchmarks/results/retrieval_speed.json`.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from benchmarks._machine import machine
from tc_common.cli import parse, run
from tc_common.files import write_json
from tc_common.retrieval import RETRIEVED, FeatureSet, KNNRegressor, fit

COMMAND = "python -m benchmarks.retrieval_speed"


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What to time."""

    stored: int = 4074
    """Training materials (>= 100)."""
    width: int = 192
    """Width of the features."""
    batch: int = 64
    """Crystals at once (>= 1)."""
    rounds: int = 15
    """Repetitions (>= 1), after two that are not counted."""
    out: Path = Path("benchmarks/results/retrieval_speed.json")
    """Where to write the numbers."""


def main(config: SpeedConfig) -> None:
    """Time both, check that they agree, write."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stored, asked = torch.randn(config.stored, config.width), torch.randn(config.batch, config.width)
    tc_K = torch.rand(config.stored, dtype=torch.float64).numpy() * 100
    known = FeatureSet(stored, tc_K, tc_K)
    regressor = fit(known, FeatureSet(asked, tc_K[: config.batch], tc_K[: config.batch]))
    trees = NearestNeighbors(n_neighbors=RETRIEVED).fit(regressor.vectors.float().numpy())

    def by_sklearn() -> Tensor:
        distance, index = trees.kneighbors(regressor.project(asked).numpy())
        return regressor.median_K(torch.from_numpy(distance).float(), torch.from_numpy(index))

    assert torch.allclose(regressor.estimate(asked), by_sklearn(), atol=1e-3), "they retrieve other materials"
    ours, theirs = rounds(regressor, asked, by_sklearn, config.rounds)
    report = {
        "command": COMMAND, "machine": machine() | {"threads": 1}, "stored": config.stored, "batch": config.batch,
        "ms_per_crystal": statistics.median(ours) / config.batch,
        "sklearn_ms_per_crystal": statistics.median(theirs) / config.batch,
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "ratio_range": [f(b / a for a, b in zip(ours, theirs, strict=True)) for f in (min, max)],
    }  # fmt: skip
    write_json(config.out, report)
    print(report)


def rounds(
    regressor: KNNRegressor, asked: Tensor, other: Callable[[], Tensor], number: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of processor time of both, in turn."""
    ours, theirs = [], []
    for _ in range(number + 2):
        ours.append(milliseconds(lambda: regressor.estimate(asked)))
        theirs.append(milliseconds(other))
    return ours[2:], theirs[2:]


def milliseconds(work: Callable[[], Tensor]) -> float:
    """Processor time of ten calls, a call."""
    started = time.process_time()
    for _ in range(10):
        work()
    return 100 * (time.process_time() - started)


if __name__ == "__main__":
    run(lambda: main(parse(SpeedConfig, prog=COMMAND, description=__doc__ or "")))
