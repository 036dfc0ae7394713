"""What structure adds to composition, and what trees gain over a network on the same composition.

    python -m benchmarks.what_structure_adds --data-dir data/processed      # 3DSC: 22 minutes while other programs ran

Extremely randomized trees (median of 500 votes, as the composition baseline) on statistics of the composition, on
statistics of the atom graph (bond lengths, neighbours, cell), and on both; the same with fewer training materials; and
the graph network's own composition layers, trained alone. Validation and test MAE in kelvin. Writes
`benchmarks/results/what_structure_adds_<name>.json`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.models import fit_extra_trees
from gat_pipeline.dataset import GraphDataset
from gat_pipeline.graphs import CrystalGraph, GraphOptions
from tc_common.cli import parse, run
from tc_common.composition_branch import CompositionBranch, pretrain
from tc_common.environment import git_commit, processor
from tc_common.files import write_json
from tc_common.splits import SPLITS, read_splits, splits_sha256
from tc_common.targets import TargetTransform

Array: TypeAlias = NDArray[np.float64]
SHARES = (0.125, 0.25, 0.5)
# Bonds up to this many times an atom's shortest one count as its coordination.
SHELL = 1.15


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """On which split, and how long."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    cache_dir: Path = Path("data/cache/graphs")
    """Folder for built graphs."""
    name: str = "stratified"
    """What the split is called in the file's name."""
    epochs: int = 120
    """Passes of the composition layers over the training set (>= 1)."""
    seed: int = 42
    """Seed of trees, layers and subsets (>= 0)."""
    out: Path = Path("benchmarks/results")
    """Folder for the JSON file."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.seed < 0 or not self.name.isidentifier():
            raise ValueError("--epochs must be at least 1, --seed at least 0, --name letters, digits and _ only")


def main(config: ProbeConfig) -> None:
    """Read, fit, write."""
    if not (config.data_dir / "train.csv").exists():
        print(f"skipped: {config.data_dir} holds no split files; make them with python -m data.prepare")
        return
    started, splits = time.monotonic(), read_splits(config.data_dir)
    sets = {name: GraphDataset(splits[name], GraphOptions(), config.cache_dir) for name in SPLITS}
    tc_K = {name: sets[name].tc_K for name in SPLITS}
    composition = {name: sets[name].composition_features().astype(float) for name in SPLITS}
    structure = {name: np.array([graph_statistics(graph) for graph in sets[name].graphs]) for name in SPLITS}
    both = {name: np.hstack([composition[name], structure[name]]) for name in SPLITS}
    choices = {"composition": composition, "structure": structure, "composition and structure": both}
    report = {
        "command": f"python -m benchmarks.what_structure_adds --data-dir DIR --name {config.name}",
        "machine": processor(),
        "splits_sha256": splits_sha256(splits),
        "materials": {name: len(tc_K[name]) for name in SPLITS},
        "trees_mae_K": {name: trees_mae_K(features, tc_K, config.seed) for name, features in choices.items()},
        "trees_on_composition_by_share_of_training": {
            str(share): trees_mae_K(composition, tc_K, config.seed, share) for share in SHARES
        },
        "layers_on_composition_mae_K": layers_mae_K(composition, tc_K, config),
        "git_commit": git_commit(),
        "seconds": round(time.monotonic() - started),
    }
    write_json(config.out / f"what_structure_adds_{config.name}.json", report)
    print({name: value for name, value in report.items() if "mae_K" in name or "share" in name})


def graph_statistics(graph: CrystalGraph) -> list[float]:
    """Cell (Å, degrees), volume per atom (Å³), anisotropy, bond lengths (Å) and coordination of a graph."""
    length_A = np.linalg.norm(graph.bond_A, axis=1)
    atoms = len(graph.atom_features)
    ending = [np.sort(length_A[graph.target == atom]) for atom in range(atoms)]
    nearest_A, mean_A = np.array([ends[0] for ends in ending]), np.array([ends.mean() for ends in ending])
    coordination = np.array([float((ends < SHELL * ends[0]).sum()) for ends in ending])
    edges_A, angles = graph.lattice[:3], graph.lattice[3:]
    unit = graph.bond_A / length_A[:, None]
    anisotropy = np.linalg.eigvalsh(unit.T @ unit / len(unit))
    summaries = [_summary(values) for values in (nearest_A, mean_A, coordination, length_A)]
    cell = [atoms, _volume_A3(edges_A, angles) / atoms, *sorted(edges_A), edges_A.max() / edges_A.min(), *angles]
    return [float(value) for value in (*cell, *anisotropy, *np.concatenate(summaries))]


def _summary(values: NDArray[Any]) -> Array:
    return np.array([values.mean(), values.std(), values.min(), values.max()])


def _volume_A3(edges_A: NDArray[Any], angles_degrees: NDArray[Any]) -> float:
    cosine = np.cos(np.radians(angles_degrees))
    return float(np.prod(edges_A) * np.sqrt(max(0.0, 1 - (cosine**2).sum() + 2 * np.prod(cosine))))


def trees_mae_K(features: dict[str, Array], tc_K: dict[str, Array], seed: int, share: float = 1.0) -> dict[str, float]:
    """Validation and test MAE (K) of the median vote of trees, fitted on a random part of the training set."""
    some = np.random.default_rng(seed).permutation(len(tc_K["train"]))[: round(share * len(tc_K["train"]))]
    predict = fit_extra_trees(features["train"][some], tc_K["train"][some], seed)["extra_trees_median"]
    return {name: float(np.abs(predict(features[name])[0] - tc_K[name]).mean()) for name in ("val", "test")}


def layers_mae_K(features: dict[str, Array], tc_K: dict[str, Array], config: ProbeConfig) -> dict[str, float]:
    """MAE (K) of the composition layers with a linear end, trained alone on the root of Tc."""
    inputs = {name: features[name].astype(np.float32) for name in SPLITS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        branch = CompositionBranch()
    target = TargetTransform("sqrt", torch.tensor(tc_K["train"]))
    end = pretrain(branch, inputs["train"], tc_K["train"], target, config.epochs, config.seed)
    branch.eval()
    with torch.inference_mode():
        kelvin = {name: target.decode(end(branch({branch.kind: torch.from_numpy(inputs[name])}))) for name in SPLITS}
    return {name: float(np.abs(kelvin[name].squeeze(1).numpy() - tc_K[name]).mean()) for name in SPLITS}


if __name__ == "__main__":
    run(lambda: main(parse(ProbeConfig, prog="python -m benchmarks.what_structure_adds", description=__doc__ or "")))
