"""How far a prediction moves when the structure file moves within the accuracy of such files.

python -m benchmarks.structure_sensitivity --checkpoint models/alignn_best.pth --data-dir data/processed

changes every test crystal by what files of one compound differ in (an isotropic strain of 1.5 % either way; every site
moved by 0.03 Å in a random direction), predicts it again, and adds |change of the predicted Tc| (K) under `--name` to
`benchmarks/results/structure_sensitivity.json` (about a minute for 900 crystals).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Structure

from benchmarks._machine import machine
from gat_pipeline.graphs import build_graph
from gat_pipeline.inference import infer
from gat_pipeline.model import AlignnTc, load_model
from tc_common.checkpoints import checkpoint_of
from tc_common.cli import parse, run
from tc_common.crystals import read_crystal
from tc_common.devices import place
from tc_common.files import read_json, write_json
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.splits import read_splits, splits_sha256, tc_range

OUT = Path(__file__).parent / "results" / "structure_sensitivity.json"
STRAIN, DISPLACEMENT_A = 0.015, 0.03
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """Settings."""

    checkpoint: Path = Path("models/alignn_best.pth")
    """The trained network, with or without retrieval."""
    data_dir: Path = Path("data/processed")
    """Folder with the split files it was trained with."""
    name: str = "alignn"
    """Name of the model in the results."""
    out: Path = OUT
    """JSON file that the numbers are added to."""
    seed: int = 0
    """Seed of the displacements (>= 0)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    limit: int | None = None
    """The network was trained with this --limit (materials per split, >= 1)."""

    def __post_init__(self) -> None:
        if self.seed < 0 or (self.limit is not None and self.limit < 1):
            raise ValueError("--seed must be at least 0, --limit at least 1")
        if not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")


def strained(structure: Structure, strain: float) -> Structure:
    """A copy with all lengths changed by this fraction."""
    return structure.copy().scale_lattice(structure.volume * (1 + strain) ** 3)


def moved(structure: Structure, distance_A: float, random: np.random.Generator) -> Structure:
    """A copy with every site moved by this distance in a direction of its own."""
    direction = random.normal(size=(len(structure), 3))
    moves_A = distance_A * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    coordinates_A = structure.cart_coords + moves_A
    return Structure(structure.lattice, structure.species_and_occu, coordinates_A, coords_are_cartesian=True)


def changes(seed: int) -> dict[str, Callable[[Structure], Structure]]:
    """The changes by their names in the results."""
    random = np.random.default_rng(seed)
    return {
        f"strain +{STRAIN:.1%}": lambda crystal: strained(crystal, STRAIN),
        f"strain -{STRAIN:.1%}": lambda crystal: strained(crystal, -STRAIN),
        f"displacements {DISPLACEMENT_A} A": lambda crystal: moved(crystal, DISPLACEMENT_A, random),
    }


def sensitivity(model: AlignnTc, materials: pd.DataFrame, seed: int) -> dict[str, Any]:
    """|Change| (K) of these materials' predictions under each of `changes`: mean, by range of Tc, percentiles."""
    crystals = [read_crystal(Path(cif)) for cif in materials["cif"]]
    before_K = _predict(model, crystals)
    tc_K = materials["tc"].to_numpy(float)
    found = {}
    for name, change in changes(seed).items():
        moved_K = np.abs(_predict(model, [change(crystal) for crystal in crystals]) - before_K)
        found[name] = _numbers(moved_K, tc_K)
    return found


def _predict(model: AlignnTc, crystals: list[Structure]) -> Array:
    return infer(model, [build_graph(crystal, model.options) for crystal in crystals])[0]


def _numbers(moved_K: Array, tc_K: Array) -> dict[str, Any]:
    by_range = pd.Series(moved_K).groupby(tc_range(tc_K)).mean()
    return {
        "mean_K": float(moved_K.mean()),
        "median_K": float(np.median(moved_K)),
        "percentile_95_K": float(np.percentile(moved_K, 95)),
        "largest_K": float(moved_K.max()),
        "mean_by_range_K": {str(name): float(value) for name, value in by_range.items()},
    }


def main(config: SensitivityConfig) -> None:
    """Predict, change, predict again, write, print."""
    splits = read_splits(config.data_dir, config.limit)
    content = checkpoint_of(config.checkpoint, config.data_dir, splits)
    model = load_model(config.checkpoint).to(place(config.device, "fp32").device)
    found = sensitivity(model, splits["test"], config.seed)
    known = {"n": len(splits["test"]), "splits_sha256": splits_sha256(splits), "init": content["init"]}
    entry = {**known, "seed": config.seed, "change_K": found, "machine": machine()}
    others = read_json(config.out) if config.out.exists() else {}
    write_json(config.out, {**others, config.name: entry})
    for name, numbers in found.items():
        print(f"{name}: mean |change| {numbers['mean_K']:.3f} K, 95 % below {numbers['percentile_95_K']:.2f} K")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    run(
        lambda: main(
            parse(SensitivityConfig, prog="python -m benchmarks.structure_sensitivity", description=__doc__ or "")
        )
    )
