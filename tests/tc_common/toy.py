"""A pipeline small enough to train in milliseconds: one number per sample, dropout, and Tc = 3 x.

python -m tests.tc_common.toy --models-dir … --results-dir …
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tc_common.cli import parse, run, set_up_log
from tc_common.runs import run_training
from tc_common.targets import TargetTransform
from tc_common.task import ScheduleKind, Task, TrainConfig, chunked, shuffled_batches

SIZES = {"train": 20, "val": 6, "test": 5}


@dataclass(frozen=True, kw_only=True)
class ToyConfig(TrainConfig):
    """Settings of the toy, and ways to misbehave."""

    init: str = "random"
    epochs: int = 3
    batch_size: int = 4
    device: str = "cpu"
    precision: Any = "fp32"
    learning_rate: float = 0.02
    dropout: float = 0.1
    schedule: ScheduleKind = "cosine"
    step_seconds: float = 0.0
    """Time that every batch takes besides."""
    batch_MB: int = 0
    """Memory that every sample of a batch takes while it is computed."""
    leak_MB: int = 0
    """Memory that every batch takes and never gives back."""
    crash_at: int = 0
    """Batch of this process at which it dies (0 = never)."""


def table(split: str) -> pd.DataFrame:
    """Rows of a split; two samples will be made of each."""
    start = {"train": 0, "val": 100, "test": 200}[split]
    ids = [f"m{start + number}" for number in range(SIZES[split])]
    return pd.DataFrame({"material_id": ids, "formula": ids, "tc": [3.0 * number for number in range(SIZES[split])]})


class ToyDataset:
    """Two samples per material; a sample carries noise drawn from (epoch, index)."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows, self.epoch = rows, 0

    def __len__(self) -> int:
        return 2 * len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows.iloc[index // 2]
        noise = torch.Generator().manual_seed(1000 * self.epoch + index)
        x = row["tc"] / 60 + 0.01 * torch.randn(1, generator=noise)
        return {"x": x, "tc": row["tc"], "material_id": row["material_id"]}


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "x": torch.stack([item["x"] for item in items]).float(),
        "tc": torch.tensor([item["tc"] for item in items]).float(),
        "material_id": [item["material_id"] for item in items],
    }


class ToyModel(nn.Module):
    """Two layers with dropout."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config, self.leaked, self.batches = config, [torch.empty(0)], 0
        self.target = TargetTransform(config.target, torch.tensor(table("train")["tc"].to_numpy()))
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(16, 1))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        self._misbehave(len(batch["tc"]))
        return self.target.decode(self.layers(batch["x"]).squeeze(1))

    def _misbehave(self, samples: int) -> None:
        held = torch.ones(self.config.batch_MB * samples << 18)
        if self.config.leak_MB:
            self.leaked.append(torch.ones(self.config.leak_MB << 18))
        self.batches += 1
        if self.batches == self.config.crash_at:
            raise RuntimeError("the toy was asked to crash")
        time.sleep(self.config.step_seconds)
        del held


def toy_config(folder: Path, **changes: Any) -> ToyConfig:
    return ToyConfig(**{"models_dir": folder / "models", "results_dir": folder / "results", **changes})


def toy_task(config: ToyConfig, model: nn.Module | None = None) -> Task:
    torch.manual_seed(config.seed)
    model = model or ToyModel(config)
    splits = {split: table(split) for split in SIZES}
    datasets = {split: ToyDataset(rows) for split, rows in splits.items()}
    return Task(
        name="toy",
        stem="toy",
        model=model,
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate),
        datasets=datasets,
        splits=splits,
        collate=collate,
        schedule=config.schedule,
        init="random",
        fingerprint="toy",
        batches=shuffled_batches(len(datasets["train"]), config.batch_size * config.grad_accumulation, config.seed),
        micro_batches=chunked(config.batch_size),
    )


def main(config: ToyConfig) -> None:
    set_up_log(config.log_file)
    run_training(toy_task(config), config)


if __name__ == "__main__":
    run(lambda: main(parse(ToyConfig, prog="python -m tests.tc_common.toy", description="A toy.")))
