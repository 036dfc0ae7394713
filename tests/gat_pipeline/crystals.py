"""Crystals that the tests of the graph pipeline share."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from torch import nn

from gat_pipeline.graphs import CrystalGraph, GraphOptions, build_graph
from tc_common.crystals import read_crystal

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "data" / "sample"
OPTIONS = GraphOptions()


@cache
def sample_rows() -> tuple[dict[str, str], ...]:
    """Every row of the shipped sample."""
    with (SAMPLE / "sample.csv").open(encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


@cache
def sample_structures(number: int = 24) -> tuple[Structure, ...]:
    """Small crystals taken at even steps through the sample, half of them doped."""
    return tuple(structure for doped in ("False", "True") for structure in _some(doped, number // 2))


def _some(doped: str, number: int) -> list[Structure]:
    rows = [row for row in sample_rows() if row["doped"] == doped]
    structures = (read_crystal(ROOT / row["cif"]) for row in rows[:: len(rows) // (2 * number)])
    return [structure for structure in structures if len(structure) <= 40][:number]


@cache
def sample_graphs(number: int = 24) -> tuple[CrystalGraph, ...]:
    """Their graphs."""
    return tuple(build_graph(structure, OPTIONS) for structure in sample_structures(number))


def settle(network: nn.Module, batch: dict[str, Any]) -> None:
    """Give normalisation layers the statistics of real crystals, instead of 0 and 1, in one pass."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(batch)
    network.eval()


def cuprate(strontium: float = 0.075) -> Structure:
    """A perovskite with a mixed site."""
    species: list[Any] = [{"La": 1 - strontium, "Sr": strontium}, "Cu", "O", "O", "O"]
    coordinates: list[list[float]] = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return Structure(Lattice.tetragonal(3.8, 4.1), species, coordinates)


def rotation(seed: int) -> np.ndarray:
    """A random proper rotation, (3, 3)."""
    matrix, upper = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    return matrix if np.linalg.det(matrix) > 0 else matrix[:, [1, 0, 2]]


def rotated(structure: Structure, seed: int) -> Structure:
    """The same crystal, turned in space."""
    return Structure(
        Lattice(structure.lattice.matrix @ rotation(seed).T), structure.species_and_occu, structure.frac_coords
    )


def edges(graph: CrystalGraph) -> list[tuple[int, int]]:
    """Bonds as pairs of atoms, sorted, with repetitions for periodic images."""
    return sorted(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
