"""Check that the graph pipeline works on this machine: one line per check, exit status 1 if one fails.

python check_setup.py
"""

import sys
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
from pymatgen.core import Lattice, Structure
from torch import Tensor

from gat_pipeline.dataset import join
from gat_pipeline.graphs import CrystalGraph, GraphOptions, atom_features, build_graph, cgcnn_table, occupancies
from gat_pipeline.model import Engine, create_alignn_model, model_of
from gat_pipeline.published import PUBLISHED
from gat_pipeline.weights import SHIPPED, read_weights
from tc_common.cli import run
from tc_common.errors import UserError

LIBRARIES = ("torch", "alignn", "dgl", "jarvis-tools", "pymatgen", "numpy", "safetensors")
DOWNLOADS = Path("models/downloads")
EQUAL = 1e-5


class CheckFailed(Exception):
    """A check that did not pass, with the reason."""


def main() -> int:
    """Run every check; returns the exit status."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("versions", versions),
        ("device", device),
        ("graph", graph_conversion),
        ("doping", doping),
        ("engine torch", torch_engine),
        ("engine dgl", dgl_engine),
        ("weights", shipped_weights),
        ("downloads", downloads),
    )
    results = [passes(name, check) for name, check in checks]
    return 0 if all(results) else 1


def passes(name: str, check: Callable[[], str]) -> bool:
    """Run one check and print its line."""
    try:
        print(f"ok    {name:13} {check()}")
    except (CheckFailed, UserError) as error:
        print(f"FAIL  {name:13} {error}")
        return False
    return True


def versions() -> str:
    """Python and the libraries."""
    installed = [f"{name} {metadata.version(name)}" for name in LIBRARIES if name != "dgl" or has_dgl()]
    return f"Python {sys.version.split()[0]}, {', '.join(installed)}"


def device() -> str:
    """Where a training would run."""
    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return "mps" if torch.backends.mps.is_available() else f"cpu, {torch.get_num_threads()} threads"


def example() -> CrystalGraph:
    """La(1.85)Sr(0.15)CuO4-like perovskite with a mixed site: enough to try every step."""
    species: list[Any] = [{"La": 0.925, "Sr": 0.075}, "Cu", "O", "O", "O"]
    coordinates: list[list[float]] = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return build_graph(Structure(Lattice.cubic(3.8), species, coordinates), GraphOptions())


def graph_conversion() -> str:
    """A crystal becomes a graph."""
    started = time.perf_counter()
    graph = example()
    spent_ms = 1000 * (time.perf_counter() - started)
    return f"{len(graph.atom_features)} atoms, {len(graph.source)} bonds, {graph.angles} angles in {spent_ms:.1f} ms"


def doping() -> str:
    """A mixed site has the mixture's features."""
    site = Structure(Lattice.cubic(3.8), [{"O": 0.9, "F": 0.1}], [[0, 0, 0]])
    mixture = atom_features(occupancies(site))[0]
    expected = 0.9 * cgcnn_table()[8] + 0.1 * cgcnn_table()[9]
    if abs(mixture - expected).max() > 1e-6:
        raise CheckFailed("a site O 0.9 F 0.1 does not have the features of 0.9 O + 0.1 F")
    return "a site O 0.9 F 0.1 has the features of 0.9 O + 0.1 F"


def features_of(engine: Engine) -> Tensor:
    """One forward pass of the published architecture with fixed random weights."""
    model = create_alignn_model(engine=engine, seed=0).eval()
    with torch.inference_mode():
        return model.backbone(join([example()]))


def torch_engine() -> str:
    """A forward pass in plain PyTorch."""
    started = time.perf_counter()
    features = features_of("torch")
    if not torch.isfinite(features).all():
        raise CheckFailed("the forward pass is not finite")
    return f"forward pass of {features.shape[1]} features in {1000 * (time.perf_counter() - started):.0f} ms"


def dgl_engine() -> str:
    """The original on DGL gives the same; it is optional."""
    if not has_dgl():
        return "not installed; only --engine dgl needs it"
    difference = float((features_of("dgl") - features_of("torch")).abs().max())
    if difference > EQUAL:
        raise CheckFailed(f"differs from engine torch by {difference:.1e}; at most {EQUAL:.0e} is rounding")
    return f"differs from engine torch by {difference:.1e}"


def has_dgl() -> bool:
    """Whether DGL is installed (looked up, not imported)."""
    return util.find_spec("dgl") is not None


def shipped_weights() -> str:
    """The weights that --init pretrained takes."""
    weights = read_weights(SHIPPED, f"pretrained:{SHIPPED.stem}")
    parameters = sum(parameter.numel() for parameter in model_of(weights).parameters())
    return f"{weights.origin}, {parameters:,} parameters"


def downloads() -> str:
    """Published weights that were downloaded before; the others are fetched when asked for."""
    there = [name for name in PUBLISHED if (DOWNLOADS / f"{name}.zip").exists()]
    absent = [name for name in PUBLISHED if name not in there]
    return f"here: {', '.join(there) or 'none'}; fetched on request: {', '.join(absent) or 'none'}"


def command() -> None:
    """Parse (there is nothing to choose), check, leave with the status."""
    if sys.argv[1:]:
        asked_for_help = {"-h", "--help"} & set(sys.argv[1:])
        if not asked_for_help:
            raise UserError(f"check_setup.py takes no flags, got {' '.join(sys.argv[1:])}")
        print((__doc__ or "").strip())
        return
    status = main()
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    run(command)
