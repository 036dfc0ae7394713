"""A pipeline small enough to train in milliseconds: one number per sample, dropout, and Tc = 3 x."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tc_common.config import TrainConfig
from tc_common.schedules import ScheduleKind
from tc_common.targets import TargetTransform
from tc_common.task import Task, pieces_of, shuffled_groups

SIZES = {"train": 20, "val": 6, "test": 5}


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

    def __init__(self, config: TrainConfig, dropout: float) -> None:
        super().__init__()
        self.target = TargetTransform(config.target, torch.tensor(table("train")["tc"].to_numpy()))
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.target.decode(self.layers(batch["x"]).squeeze(1))


def toy_config(folder: Path, **changes: Any) -> TrainConfig:
    defaults = {"models_dir": folder / "models", "results_dir": folder / "results", "batch_size": 4, "device": "cpu"}
    return TrainConfig(**{**defaults, "epochs": 3, "precision": "fp32", "init": "random", **changes})


def toy_task(
    config: TrainConfig, schedule: ScheduleKind = "cosine", dropout: float = 0.1, learning_rate: float = 0.02
) -> Task:
    torch.manual_seed(config.seed)
    model = ToyModel(config, dropout)
    splits = {split: table(split) for split in SIZES}
    datasets = {split: ToyDataset(rows) for split, rows in splits.items()}
    return Task(
        name="toy",
        stem="toy",
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=learning_rate),
        datasets=datasets,
        splits=splits,
        collate=collate,
        schedule=schedule,
        init="random",
        fingerprint="toy",
        groups=shuffled_groups(len(datasets["train"]), config.batch_size * config.grad_accumulation, config.seed),
        micro_batches=pieces_of(config.batch_size),
    )
