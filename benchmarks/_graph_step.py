"""One training variant, timed in a process of its own (the allocator's settings belong to a process).

    python -m benchmarks._graph_step --structures DIR --variant torch-bf16 --allocator

Prints one line of JSON. Legend: B crystals of a batch.
"""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("DGLBACKEND", "pytorch")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gat_pipeline.allocator import tune_memory  # noqa: E402
from gat_pipeline.cache import graphs_of  # noqa: E402
from gat_pipeline.dataset import Batch, join  # noqa: E402
from gat_pipeline.graphs import GraphOptions  # noqa: E402
from gat_pipeline.model import create_alignn_model  # noqa: E402
from tc_common import cli  # noqa: E402
from tc_common.environment import peak_rss_MB  # noqa: E402

Variant = Literal["torch-bf16", "torch-fp32", "dgl", "alignn-pure-bf16", "alignn-pure-fp32"]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What to time."""

    structures: Path
    """Folder of CIFs; the batch is all of them."""
    variant: Variant = "torch-bf16"
    """Which network, in which precision."""
    allocator: bool = False
    """Keep freed memory in the process, as the trainer does."""
    steps: int = 5
    """Timed steps, after two that are not (>= 1)."""
    inference: bool = False
    """Time predictions instead of training steps."""


def main(config: StepConfig) -> None:
    """Build the batch, time the variant on it, print one line."""
    if config.allocator:
        tune_memory()
    batch = join(graphs_of(sorted(config.structures.glob("*.cif")), GraphOptions(), None))
    torch.manual_seed(0)
    predict = network(config.variant, batch)
    step = predict_once(predict) if config.inference else training_step(predict, len(batch["atoms"]))
    walls, cpus, faults = timed(step, config)
    facts = {
        "variant": config.variant, "allocator": config.allocator, "inference": config.inference,
        "wall_s": statistics.median(walls), "wall_s_range": [min(walls), max(walls)],
        "cpu_s": statistics.median(cpus), "cpu_s_range": [min(cpus), max(cpus)],
        "page_faults_a_step": statistics.median(faults), "peak_rss_MB": peak_rss_MB(),
        "crystals": len(batch["atoms"]), "angles": len(batch["angle_cosine"]),
    }  # fmt: skip
    print(json.dumps(facts))


def timed(step: Callable[[], None], config: StepConfig) -> tuple[list[float], list[float], list[int]]:
    """Wall-clock seconds, processor seconds and page faults of each timed step."""
    walls, cpus, faults = [], [], []
    for _ in range(2 + config.steps):
        wall, cpu, before = time.perf_counter(), time.process_time(), usage().ru_minflt
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        faults.append(usage().ru_minflt - before)
    return walls[2:], cpus[2:], faults[2:]


def usage() -> resource.struct_rusage:
    """What this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF)


class Predictor:
    """A network, its input, and whether its matrix products are bf16."""

    def __init__(self, module: nn.Module, call: Callable[[], Tensor], bf16: bool) -> None:
        self.module, self.call, self.bf16 = module, call, bf16

    def __call__(self) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.call()


def network(variant: Variant, batch: Batch) -> Predictor:
    """The variant with the published sizes."""
    if variant.startswith("alignn-pure"):
        return alignn_pure(batch, variant.endswith("bf16"))
    model = create_alignn_model(engine="dgl" if variant == "dgl" else "torch")
    return Predictor(model, lambda: model(batch), variant == "torch-bf16")


def alignn_pure(batch: Batch, bf16: bool) -> Predictor:
    """alignn's own DGL-free network on the same graphs."""
    from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
    from alignn.torch_graph_builder import TorchGraph

    settings: dict[str, Any] = {
        "name": "alignn_atomwise_pure", "alignn_layers": 4, "gcn_layers": 4, "hidden_features": 256,
        "atom_input_features": batch["atom_features"].shape[1], "calculate_gradient": False, "lg_on_fly": False,
        "use_penalty": False, "energy_mult_natoms": False,
    }  # fmt: skip
    module = ALIGNNAtomWisePure(ALIGNNAtomWisePureConfig(**settings))
    crystal = TorchGraph(
        num_nodes=len(batch["crystal"]), src=batch["source"], dst=batch["target"],
        ndata={"atom_features": batch["atom_features"]}, edata={"r": batch["bond_A"]},
    )  # fmt: skip
    crystal.batch_num_nodes = batch["atoms"]
    line = TorchGraph(
        num_nodes=len(batch["source"]), src=batch["first_bond"], dst=batch["second_bond"],
        edata={"h": batch["angle_cosine"]},
    )  # fmt: skip
    return Predictor(module, lambda: module((crystal, line, None))["out"], bf16)


def training_step(predict: Predictor, crystals: int) -> Callable[[], None]:
    """Forward, backward and AdamW."""
    predict.module.train()
    optimizer = torch.optim.AdamW(predict.module.parameters(), 1e-4)
    tc_K = torch.linspace(0, 100, crystals)

    def step() -> None:
        (predict() - tc_K).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def predict_once(predict: Predictor) -> Callable[[], None]:
    """Forward alone, in evaluation mode."""
    predict.module.eval()

    def step() -> None:
        with torch.inference_mode():
            predict()

    return step


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(StepConfig, prog="python -m benchmarks._graph_step", description=__doc__ or "")))
