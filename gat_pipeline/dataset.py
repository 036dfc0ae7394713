"""Graphs of the materials in a split, and batches of them.

Legend: B crystals, N atoms, E bonds, A angles of the whole batch, F features of an atom,
C composition features, n crystals of a dataset.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pymatgen.core import Structure

from gat_pipeline.cache import graphs_of
from gat_pipeline.graphs import (
    CrystalGraph,
    Floats,
    GraphError,
    GraphOptions,
    Indices,
    bond_cosines,
    bonds_up_to,
    build_graph,
    line_graph,
    moved_graph,
)
from tc_common.augmentation import MovableCrystal, StructureAugmentation
from tc_common.chemistry import FeatureKind
from tc_common.composition_branch import features_of_fractions
from tc_common.crystals import CrystalError, read_crystal
from tc_common.prior import Prior
from tc_common.structures import TrainingStructures, structures_of

# Keeps the random numbers of augmentation apart from others of the same seed and epoch.
AUGMENTATION_STREAM = 2

Item: TypeAlias = tuple[str, float, CrystalGraph, float | None, bool]
"""Material id, Tc in kelvin, graph, prior in kelvin (None where the dataset has none), and whether the crystal is
shown as it is because its augmented copy is no crystal or has no graph."""
Batch: TypeAlias = dict[str, Any]


class GraphDataset:
    """One graph per material of a split table (`tc_common.splits`), or per sample of a training's structures.

    A training shows the chosen structures until `set_epoch` draws others.

    Args:
        materials: a split table, or the structures that each epoch draws from.
        augmentation: changes of the crystals, drawn anew every epoch.
        seed: of these changes.
        prior: the pair's prediction of every row (`tc_common.prior`), for a network that reads it.
    """

    def __init__(
        self,
        materials: pd.DataFrame | TrainingStructures,
        options: GraphOptions,
        cache_dir: Path | None = None,
        augmentation: StructureAugmentation | None = None,
        seed: int = 0,
        prior: Prior | None = None,
    ) -> None:
        self.structures = structures_of(materials)
        table = self.structures.table
        self.options, self.augmentation, self.seed, self.epoch = options, augmentation, seed, 0
        self.material_ids = table["material_id"].tolist()
        self.tc_of_row_K = table["tc"].to_numpy(np.float64)
        self.prior_of_row_K = None if prior is None else prior.of(self.material_ids)
        cifs = [Path(cif) for cif in table["cif"]]
        self.graphs = graphs_of(cifs, options, cache_dir)
        self.crystals = [_crystal(cif, augmentation) for cif in cifs] if augmentation else []
        self.angles_of_row = np.array([graph.angles_within(options.angle_cutoff_A) for graph in self.graphs])
        self.rows = self.structures.chosen()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = int(self.rows[index])
        changed = self._changed_graph(index, row) if self.augmentation else None
        prior_K = None if self.prior_of_row_K is None else float(self.prior_of_row_K[row])
        unaugmented = self.augmentation is not None and changed is None
        return self.material_ids[row], float(self.tc_of_row_K[row]), changed or self.graphs[row], prior_K, unaugmented

    def _changed_graph(self, index: int, row: int) -> CrystalGraph | None:
        """Graph of the augmented crystal, where that is a crystal and has one."""
        assert self.augmentation is not None
        random = np.random.default_rng((self.seed, self.epoch, index, AUGMENTATION_STREAM))
        crystal, graph = self.crystals[row], self.graphs[row]
        try:
            if isinstance(crystal, MovableCrystal):
                return moved_graph(graph, *self.augmentation.move(crystal, random), self.options)
            changed = self.augmentation.changed(crystal, random)
            return None if changed is None else build_graph(changed, self.options)
        except (CrystalError, GraphError):
            return None

    @property
    def tc_K(self) -> NDArray[np.float64]:
        """Tc of each sample (n,)."""
        return self.tc_of_row_K[self.rows]

    @property
    def prior_K(self) -> NDArray[np.float64] | None:
        """Prior of each sample (n,) in K, where there is one."""
        return None if self.prior_of_row_K is None else self.prior_of_row_K[self.rows]

    @property
    def angles(self) -> NDArray[np.int64]:
        """Angles within the cutoff of each sample's graph (n,), before augmentation."""
        return self.angles_of_row[self.rows]

    def angles_in(self, epoch: int) -> NDArray[np.int64]:
        """Angles within the cutoff of each sample's graph in this epoch (n,)."""
        return self.angles_of_row[self.structures.drawn(epoch)]

    def composition_features(self, kind: FeatureKind = "statistics") -> NDArray[np.float32]:
        """Composition features (n, C) of all samples."""
        return features_of_fractions(np.stack([self.graphs[row].composition for row in self.rows]), kind)

    def set_epoch(self, epoch: int) -> None:
        """Draw structures and their changes anew."""
        self.epoch, self.rows = epoch, self.structures.drawn(epoch)


def _crystal(cif: Path, augmentation: StructureAugmentation) -> MovableCrystal | Structure:
    """A crystal in the form that it is changed in."""
    crystal = read_crystal(cif)
    return MovableCrystal(crystal) if augmentation.keeps_species else crystal


def collator(options: GraphOptions, kind: FeatureKind | None = None) -> Callable[[Sequence[Item]], Batch]:
    """The function that joins graphs built with these options into a batch, with this kind of composition features.

    `unaugmented` in the batch is the number of crystals that are shown as they are although they should be augmented.
    """

    def collate(items: Sequence[Item]) -> Batch:
        ids, tc_K, graphs, prior_K, unaugmented = zip(*items, strict=True)
        batch = join([*graphs], options.angle_cutoff_A, kind, None if None in prior_K else prior_K)
        batch |= {"tc": torch.tensor(tc_K, dtype=torch.float32), "material_id": list(ids)}
        return {**batch, "unaugmented": sum(unaugmented)}

    return collate


def join(
    graphs: Sequence[CrystalGraph],
    angle_cutoff_A: float | None = None,
    kind: FeatureKind | None = None,
    prior_K: ArrayLike | None = None,
) -> Batch:
    """Join graphs into one without bonds between them, with its line graph.

    Keys: `atom_features` (N, F); `source`, `target` (E,) atoms of a bond; `bond_A` (E, 3) in angstrom; `first_bond`,
    `second_bond`, `angle_cosine` (A,); `crystal` (N,) crystal of an atom; `atoms` (B,) atoms of a crystal;
    `lattice` (B, 6) in angstrom and degrees; `composition` (B, 101) atomic fractions by atomic number; composition
    features (B, C) by the name of their kind (`statistics`, `continuous`, `physics`), if one is wanted; `prior_K` (B,)
    in kelvin, if given.
    """
    atoms = np.array([len(graph.atom_features) for graph in graphs])
    offset = np.repeat(np.cumsum(atoms) - atoms, [len(graph.source) for graph in graphs])
    source = np.concatenate([graph.source for graph in graphs]) + offset
    target = np.concatenate([graph.target for graph in graphs]) + offset
    bond_A = np.concatenate([graph.bond_A for graph in graphs])
    composition = np.stack([graph.composition for graph in graphs])
    first, second = _angles(source, target, bond_A, int(atoms.sum()), angle_cutoff_A)
    extras: Batch = {} if kind is None else {kind: torch.from_numpy(features_of_fractions(composition, kind))}
    if prior_K is not None:
        extras["prior_K"] = torch.from_numpy(np.asarray(prior_K, np.float32))
    return {
        "atom_features": torch.from_numpy(np.concatenate([graph.atom_features for graph in graphs])),
        "source": torch.from_numpy(source),
        "target": torch.from_numpy(target),
        "bond_A": torch.from_numpy(bond_A),
        "first_bond": torch.from_numpy(first),
        "second_bond": torch.from_numpy(second),
        "angle_cosine": torch.from_numpy(bond_cosines(bond_A, first, second)),
        "crystal": torch.from_numpy(np.repeat(np.arange(len(graphs)), atoms)),
        "atoms": torch.from_numpy(atoms),
        "lattice": torch.from_numpy(np.stack([graph.lattice for graph in graphs])),
        "composition": torch.from_numpy(composition),
        **extras,
    }


def _angles(
    source: Indices, target: Indices, bond_A: Floats, atoms: int, cutoff_A: float | None
) -> tuple[Indices, Indices]:
    """First and second bond of each angle (A,) between bonds up to the cutoff."""
    if cutoff_A is None:
        return line_graph(source, target, atoms)
    short = np.flatnonzero(bonds_up_to(bond_A, cutoff_A))
    first, second = line_graph(source[short], target[short], atoms)
    return short[first], short[second]


def bucketed_batches(sizes: NDArray[np.int64], batch: int, seed: int) -> Callable[[int], list[list[int]]]:
    """Batches of at most `batch` crystals, one of each size, in an order that depends on (seed, epoch) alone.

    Every crystal once an epoch; no batch of one where there are more, because batch normalisation needs two.
    """
    number = max(1, min(math.ceil(len(sizes) / batch), len(sizes) // 2))

    def batches(epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((seed, epoch))
        shuffled = generator.permutation(len(sizes))
        by_size = shuffled[np.argsort(sizes[shuffled], kind="stable")]
        buckets = [generator.permutation(by_size[start : start + number]) for start in range(0, len(by_size), number)]
        return [[int(bucket[place]) for bucket in buckets if place < len(bucket)] for place in range(number)]

    return batches


def bounded_micro_batches(
    angles: NDArray[np.int64], indices: Sequence[int], size: int, most_angles: int
) -> list[list[int]]:
    """Cut `indices`, in their order, into micro-batches of at most `size` crystals and `most_angles` (or one crystal).

    `angles` are those of every crystal of the dataset.
    """
    micro_batches: list[list[int]] = []
    total = 0
    for index in indices:
        total += int(angles[index])
        if not micro_batches or len(micro_batches[-1]) == size or total > most_angles:
            micro_batches.append([])
            total = int(angles[index])
        micro_batches[-1].append(index)
    return micro_batches
