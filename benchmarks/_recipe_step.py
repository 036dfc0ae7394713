"""Some steps of the published graph training, timed in a process of its own: loading, augmentation, forward, backward.

    python -m benchmarks._recipe_step --table FILE --cache DIR --variant now

`before` is the same training as it was: every angle embedded by itself, crystals changed as pymatgen structures, the
line graph of all bonds cut afterwards, micro-batches cut by the angles before the cutoff. Prints one line of JSON.
"""

import json
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from gat_pipeline import dataset as batching
from gat_pipeline import network
from gat_pipeline.allocator import tune_memory
from gat_pipeline.dataset import GraphDataset
from gat_pipeline.graphs import CrystalGraph, GraphError, GraphOptions, bonds_up_to, build_graph, line_graph
from gat_pipeline.train import GraphTrainConfig, build_model, task_of
from tc_common import cli
from tc_common.augmentation import StructureAugmentation
from tc_common.callbacks import Callback, Step
from tc_common.crystals import read_crystal
from tc_common.devices import place
from tc_common.environment import peak_rss_MB, processor
from tc_common.signals import StopRequest
from tc_common.structures import TrainingStructures
from tc_common.training import Trainer

Variant = Literal["before", "now"]
ANGLE_CUTOFF_A = 3.2
# Steps of an epoch of the published training: 4,074 materials, 64 a step.
STEPS_OF_AN_EPOCH = 64
WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What to time."""

    table: Path
    """CSV with `material_id,formula,tc,cif` of the crystals; one pass over them is timed."""
    cache: Path
    """Folder for their graphs."""
    variant: Variant = "now"
    """The training as it is, or as it was before."""
    loaders: int = 0
    """Processes that prepare batches beside the one that takes the steps (0 = that one itself)."""
    batch_size: int = 64
    """Crystals of a micro-batch (>= 2)."""
    grad_accumulation: int = 1
    """Micro-batches of a step (>= 1)."""
    hidden: int = 128
    """Width of the network."""
    device: str = "cpu"
    """cpu or cuda."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of matrix products."""


def main(config: RecipeConfig) -> None:
    """Train on the crystals once; print what a step took."""
    tune_memory()
    clock = Clock()
    trainer = trainer_of(config)
    trainer.callbacks.append(clock)
    trainer._train_epoch(save=lambda kind: None)
    if trainer.placement.is_main:
        print(json.dumps(facts(config, clock, trainer.placement.device)))


class Clock(Callback):
    """Wall-clock and processor time from the end of a step to the end of the next."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def take_step(self, step: Step) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def seconds(self, which: int) -> list[float]:
        """Of each step but the first ones; 0 wall-clock, 1 processor."""
        times = [end[which] for end in self.ends]
        return [after - before for before, after in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]


def trainer_of(config: RecipeConfig) -> Trainer:
    """The training loop on these crystals, with the settings of README_alignn.md."""
    settings = GraphTrainConfig(
        init="random", hidden=config.hidden, alignn_layers=2, gcn_layers=2, target="sqrt", head_features="physics",
        graph=GraphOptions(angle_cutoff_A=ANGLE_CUTOFF_A), batch_size=config.batch_size, lr_head=2e-3, epochs=1,
        grad_accumulation=config.grad_accumulation, schedule="onecycle", num_workers=config.loaders,
        augment_structure=StructureAugmentation(strain=0.02, shear=0.006, displacement_A=0.02),
        device=config.device, precision=config.precision, cache_dir=config.cache,
    )  # fmt: skip
    table = pd.read_csv(config.table)
    kind = GraphDataset if config.variant == "now" else EarlierDataset
    crystals = kind(
        TrainingStructures(table), settings.graph, settings.cache_dir, settings.augment_structure, settings.seed
    )
    model = build_model(settings, None, table)
    assert model.composition_branch is not None
    model.composition_branch.standardise(crystals.composition_features("physics"))
    if config.variant == "before":
        be_as_before()
    task = task_of(settings, model, None, {"train": table}, {"train": crystals})
    return Trainer(task, settings, place(config.device, config.precision), StopRequest())


def facts(config: RecipeConfig, clock: Clock, device: torch.device) -> dict[str, Any]:
    """Medians and ranges of the steps, and the peak memory."""
    walls, cpus = clock.seconds(0), clock.seconds(1)
    on_gpu = device.type == "cuda"
    return {
        "variant": config.variant, "loaders": config.loaders, "steps": len(walls), "threads": torch.get_num_threads(),
        "step_wall_s": statistics.median(walls), "step_wall_s_range": [min(walls), max(walls)],
        "step_cpu_s": statistics.median(cpus), "step_cpu_s_range": [min(cpus), max(cpus)],
        "epoch_s": statistics.fmean(walls) * STEPS_OF_AN_EPOCH,
        "peak_rss_MB": peak_rss_MB(), "loader_cpu_s": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime,
        "gpu_peak_MB": torch.cuda.max_memory_allocated() >> 20 if on_gpu else None,
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
    }  # fmt: skip


# ---- as it was ---------------------------------------------------------------------------------------------------


class EarlierDataset(GraphDataset):
    """Crystals kept and changed as pymatgen structures; sizes counted with all angles."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.structures_of_rows = [read_crystal(Path(cif)) for cif in self.structures.table["cif"]]
        self.angles_of_row = np.array([graph.angles for graph in self.graphs])

    def _changed_graph(self, index: int, row: int) -> CrystalGraph:
        assert self.augmentation is not None
        random = np.random.default_rng((self.seed, self.epoch, index, batching.AUGMENTATION_STREAM))
        try:
            return build_graph(self.augmentation.apply(self.structures_of_rows[row], random), self.options)
        except GraphError:
            return self.graphs[row]


def be_as_before() -> None:
    """Embed every angle by itself, and make the line graph of all bonds before it is cut."""
    network.COSINE_LEVELS = sys.maxsize
    batching._angles = angles_cut_afterwards


def angles_cut_afterwards(
    source: Any, target: Any, bond_A: Any, atoms: int, cutoff_A: float | None
) -> tuple[Any, Any]:
    """First and second bond of each angle between short bonds, out of all angles."""
    first, second = line_graph(source, target, atoms)
    assert cutoff_A is not None
    short = bonds_up_to(bond_A, cutoff_A)
    both = short[first] & short[second]
    return first[both], second[both]


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(RecipeConfig, prog="python -m benchmarks._recipe_step", description=__doc__ or "")))
